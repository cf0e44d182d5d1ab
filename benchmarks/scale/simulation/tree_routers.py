"""Routers that remember which prompts went where: SMG's ``cache_aware``, and Ray Serve's prefix-aware router.

Both keep a radix tree of prompts, whose nodes are marked with the workers that got them. Here it is a tree of
conversations: a root for the tokens that all begin with, and below it, for each conversation, what each turn
added.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from benchmarks.scale.simulation.routers import PowerOfTwo, Router, State, spill_margin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.scale.simulation.routers import View
    from benchmarks.scale.simulation.trace import Request


@dataclass(slots=True)
class _Node:
    """What one turn added to a prompt."""

    end: int
    """Tokens of the prompt up to here."""
    n_tokens: int
    marks: dict[int, int] = field(default_factory=dict)
    """The workers that got it -> when."""
    last: int = -1
    """One of them that got it of late."""


class PromptTree:
    """The prompts that workers got.

    Args:
        n_workers: How many there are.
        n_common: Tokens with which all prompts begin.
    """

    def __init__(self, n_workers: int, n_common: int) -> None:
        self.tokens_of = np.zeros(n_workers, dtype=np.int64)
        """Tokens that each worker got, those of a node once."""
        self.n_tokens = 0
        self._n_common = n_common
        self._chains: dict[int, list[_Node]] = {}
        self._common = _Node(n_common, n_common)
        self._now = 0

    def path(self, request: Request) -> Iterator[tuple[_Node, int]]:
        """Yield the nodes that begin as a prompt does, and up to where."""
        if self._n_common and self._common.marks:
            yield self._common, min(self._n_common, request.prompt)
        for node in self._chains.get(request.conversation, ()):
            if node.end - node.n_tokens >= request.prompt or not node.marks:
                return
            yield node, min(node.end, request.prompt)

    def insert(self, request: Request, worker: int) -> None:
        """Mark a prompt with the worker that gets it."""
        self._mark(self._common, worker)
        chain = self._chains.setdefault(request.conversation, [])
        for node in chain:
            if node.end <= request.prompt:
                self._mark(node, worker)
        end = chain[-1].end if chain else self._n_common
        if request.prompt > end:
            chain.append(_Node(request.prompt, request.prompt - end))
            self._mark(chain[-1], worker)

    def forget(self, worker: int) -> None:
        """Remove the marks of a worker."""
        for node in [self._common, *(node for chain in self._chains.values() for node in chain)]:
            if worker in node.marks:
                self._unmark(node, worker)

    def evict(self, most: int) -> None:
        """Remove the oldest marks until at most so many tokens have one."""
        if self.n_tokens <= most:
            return
        nodes = [node for chain in self._chains.values() for node in chain]
        by_age = {at: (node, worker) for node in nodes for worker, at in node.marks.items()}
        for at in sorted(by_age):
            if self.n_tokens <= most:
                break
            self._unmark(*by_age[at])
        self._chains = {
            key: kept
            for key, chain in self._chains.items()
            if (kept := [node for node in chain if node.marks])
        }

    @property
    def state(self) -> State:
        """Nodes and their marks; 4 bytes for a token, 12 for a mark."""
        n_nodes = 1 + sum(map(len, self._chains.values()))
        n_marks = len(self._common.marks) + sum(
            len(node.marks) for chain in self._chains.values() for node in chain
        )
        return State(n_nodes, 4 * self.n_tokens + 12 * n_marks)

    def touch(self, node: _Node, worker: int) -> None:
        """Note that a worker's mark was of use."""
        self._now += 1
        node.marks[worker] = self._now
        if self._now % 16 == 0:  # as often as in SMG
            node.last = worker

    def _mark(self, node: _Node, worker: int) -> None:
        if worker not in node.marks:
            self.tokens_of[worker] += node.n_tokens
            self.n_tokens += 0 if node.marks else node.n_tokens
        self.touch(node, worker)

    def _unmark(self, node: _Node, worker: int) -> None:
        del node.marks[worker]
        self.tokens_of[worker] -= node.n_tokens
        self.n_tokens -= 0 if node.marks else node.n_tokens


class CacheAware(Router):
    """SMG's default: the worker that got the longest part of the prompt, if it is long and not too busy.

    Its tree is bounded over all workers, and forgets the oldest marks first. A worker that dies stays in it.
    """

    _THRESHOLD = 0.3
    _REL_MARGIN = 1.5
    _MOST_TOKENS = 1 << 26

    def __init__(self, n_workers: int, seed: int, n_common: int = 0) -> None:
        super().__init__(n_workers, seed, n_common)
        self._tree = PromptTree(n_workers, n_common)

    def choose(self, request: Request, view: View) -> int:
        matched, holder = 0, -1
        for node, up_to in self._tree.path(request):
            holder = node.last if node.last in node.marks else next(iter(node.marks))
            self._tree.touch(node, holder)
            matched = up_to
        worker = holder
        if matched <= self._THRESHOLD * request.prompt or self._is_too_busy(holder, view):
            worker = view.least_loaded()
        self._tree.insert(request, worker)
        return worker

    def _is_too_busy(self, worker: int, view: View) -> bool:
        place = int(np.searchsorted(view.eligible, worker))
        if place == len(view.eligible) or view.eligible[place] != worker:
            return True
        mean = float(view.load[view.alive].mean())
        return bool(view.load[worker] > max(mean + spill_margin(mean), mean * self._REL_MARGIN))

    def tidy(self) -> None:
        self._tree.evict(self._MOST_TOKENS)

    @property
    def state(self) -> State:
        return self._tree.state


class RayPrefix(PowerOfTwo):
    """Ray Serve's prefix-aware router: of the workers that match longest, the one with fewest requests.

    Where less than a tenth matches, it is one of those that got the fewest tokens. By default no imbalance
    is too large, and nothing is forgotten.
    """

    sheds: ClassVar[bool] = False
    _THRESHOLD = 0.1
    _IMBALANCE = float("inf")

    def __init__(self, n_workers: int, seed: int, n_common: int = 0) -> None:
        super().__init__(n_workers, seed, n_common)
        self._tree = PromptTree(n_workers, n_common)

    def choose(self, request: Request, view: View) -> int:
        worker = self._choose(request, view)
        self._tree.insert(request, worker)
        return worker

    def _choose(self, request: Request, view: View) -> int:
        load = view.load[view.alive]
        if load.max() - load.min() > self._IMBALANCE:
            return super().choose(request, view)
        matched, holders = 0, {}
        for node, up_to in self._tree.path(request):
            matched, holders = up_to, node.marks
        if matched < self._THRESHOLD * request.prompt:
            tokens = self._tree.tokens_of[view.alive]
            smallest = view.alive[tokens == tokens.min()]
        else:
            smallest = np.fromiter(holders, dtype=np.int64, count=len(holders))
        return int(smallest[np.argmin(view.load[smallest])])

    def forget(self, worker: int) -> None:
        self._tree.forget(worker)

    @property
    def state(self) -> State:
        return self._tree.state


class RayPrefixBalanced(RayPrefix):
    """The same with a limit: where queues differ by more than five requests, power of two."""

    _IMBALANCE = 5.0
