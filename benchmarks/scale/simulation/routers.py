"""Which worker gets a request: the policies of real gateways, in short.

Those of SMG follow what ``smg launch --help`` of version 1.13 says of them, and its public sources where that
leaves something open. Where it may ask workers for their load, it leaves out those with many waiting requests
or a full cache (:mod:`benchmarks.scale.simulation.fleet` does that for all of SMG's policies).
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.scale.simulation.trace import Request


class State(NamedTuple):
    """What a router remembers."""

    entries: int
    """Places in its tables or trees."""
    n_bytes: int
    """The least they take: 4 bytes for a token or a worker, 8 for a hash."""


@dataclass
class View:
    """What a router sees of the workers.

    Attributes:
        load: Requests of each worker that are not answered yet, dead workers with none.
        alive: The workers that live, in order.
        eligible: Those of them that may get a request.
    """

    load: NDArray[np.int64]
    alive: NDArray[np.int64]
    eligible: NDArray[np.int64]

    def least_loaded(self) -> int:
        """Return the eligible worker with the fewest requests, the first of several."""
        return int(self.eligible[np.argmin(self.load[self.eligible])])


class Router:
    """Chooses a worker for each request.

    Args:
        n_workers: How many there are.
        seed: Of its random choices.
        n_common: Tokens with which all prompts begin.
    """

    sheds: ClassVar[bool] = True
    """Whether it leaves out workers that report much load."""

    def __init__(self, n_workers: int, seed: int, n_common: int = 0) -> None:
        self._n_workers = n_workers
        self._n_common = n_common
        self._rng = np.random.default_rng(seed)
        self._drawn: list[float] = []

    def choose(self, request: Request, view: View) -> int:
        """Return the worker that gets a request."""
        raise NotImplementedError

    def tidy(self) -> None:
        """Forget what is too much; called once a minute."""

    def forget(self, worker: int) -> None:
        """A worker has died."""

    @property
    def state(self) -> State:
        """What it remembers."""
        return State(0, 0)

    def _random(self) -> float:
        if not self._drawn:
            self._drawn = self._rng.random(1_024).tolist()
        return self._drawn.pop()

    def _any(self, workers: NDArray[np.int64]) -> int:
        return int(workers[int(self._random() * len(workers))])


class Random(Router):
    """Any worker."""

    def choose(self, request: Request, view: View) -> int:  # noqa: ARG002
        return self._any(view.eligible)


class RoundRobin(Router):
    """One after the other."""

    _next = 0

    def choose(self, request: Request, view: View) -> int:  # noqa: ARG002
        self._next += 1
        return int(view.eligible[self._next % len(view.eligible)])

    @property
    def state(self) -> State:
        return State(1, 8)


class PowerOfTwo(Router):
    """The one of two that has fewer requests."""

    def choose(self, request: Request, view: View) -> int:  # noqa: ARG002
        n = len(view.eligible)
        first = int(self._random() * n)
        second = (first + 1 + int(self._random() * (n - 1))) % n if n > 1 else first
        one, other = int(view.eligible[first]), int(view.eligible[second])
        return one if view.load[one] <= view.load[other] else other

    @property
    def state(self) -> State:
        return State(self._n_workers, 4 * self._n_workers)


class LeastRequests(Router):
    """The one that has the fewest requests."""

    def choose(self, request: Request, view: View) -> int:  # noqa: ARG002
        return view.least_loaded()

    @property
    def state(self) -> State:
        return State(self._n_workers, 4 * self._n_workers)


class _Ring:
    """Consistent hashing: each worker is at many places of a ring."""

    _PLACES = 160

    def __init__(self, n_workers: int) -> None:
        places = sorted(
            (_hash(f"worker {worker}, {place}"), worker)
            for worker in range(n_workers)
            for place in range(self._PLACES)
        )
        self._hashes = [place[0] for place in places]
        self._workers = [place[1] for place in places]

    @property
    def state(self) -> State:
        return State(len(self._hashes), 12 * len(self._hashes))

    def find(self, key: str, eligible: NDArray[np.int64]) -> int:
        """Return the first eligible worker on the ring from a key on."""
        at = bisect_left(self._hashes, _hash(key))
        while True:
            worker = self._workers[at % len(self._workers)]
            place = int(np.searchsorted(eligible, worker))
            if place < len(eligible) and eligible[place] == worker:
                return worker
            at += 1


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest())


class ConsistentHashing(Router):
    """A ring, with a key that clients send: here one for each conversation."""

    def __init__(self, n_workers: int, seed: int, n_common: int = 0) -> None:
        super().__init__(n_workers, seed, n_common)
        self._ring = _Ring(n_workers)

    def choose(self, request: Request, view: View) -> int:
        return self._ring.find(f"conversation {request.conversation}", view.eligible)

    @property
    def state(self) -> State:
        return self._ring.state


class PrefixHash(ConsistentHashing):
    """A ring, with a hash of the prompt's first tokens, unless that worker has more than the others."""

    _TOKENS = 256
    _LOAD_FACTOR = 1.25
    _MARGIN = 10

    def choose(self, request: Request, view: View) -> int:
        head = min(request.prompt, self._TOKENS)
        whose = request.conversation if head > self._n_common else "anybody"
        worker = self._ring.find(f"head {whose}, {head}", view.eligible)
        mean = (int(view.load[view.alive].sum()) + 1) / len(view.alive)
        if view.load[worker] > max(mean * self._LOAD_FACTOR, mean + self._MARGIN):
            return view.least_loaded()
        return worker


def spill_margin(mean: float, most: float = 64.0) -> float:
    """Return by how many requests a worker may exceed the mean: what chance makes of it, up to a limit.

    >>> spill_margin(25.0)
    10.0
    """
    return min(most, max(4.0, 2 * math.sqrt(mean)))
