"""One worker: slots, a queue, the prefixes it keeps, and steps that take what they were measured to take.

Steps follow the engine: every running sequence decodes one token, prompts get what
:func:`engine.core.prefill_budget.prefill_budget` allows, half of it the oldest, the rest the shortest first.
Equal steps are taken together, until a sequence ends its prompt or its answer, or somebody new may join.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from benchmarks.scale.simulation.cache import ConversationCache
from benchmarks.scale.simulation.costs import MAX_STEP
from engine.core.attention_cost import Depth
from engine.core.prefill_budget import prefill_budget

if TYPE_CHECKING:
    from benchmarks.scale.simulation.costs import Machine
    from benchmarks.scale.simulation.trace import Request

_MOST_STEPS = 64
"""Equal steps that are taken together at most, so that what lies before their rows is about right."""
_DEPTHS = 256
"""Depths that differ by less get the same budget for prompts."""


class _Sequence:
    """A request that has a slot."""

    __slots__ = ("answer_left", "depth", "prompt_left", "request", "span")

    def __init__(self, request: Request, cached: int) -> None:
        self.request = request
        self.depth = cached
        """Tokens of it in the KV cache."""
        self.prompt_left = request.prompt - cached
        self.answer_left = request.output - request.n_sent
        self.span = 0
        """Tokens of its prompt in each of the steps that are taken now."""


class Worker:
    """A worker of a fleet; times are seconds since the beginning.

    Args:
        machine: What it runs on.
        n_common: Tokens with which all prompts begin.
        slowness: Its steps take so many times as long.
        knows_all: Whether it finds all of a prompt that was ever computed anywhere: a bound.
    """

    def __init__(
        self, machine: Machine, n_common: int, *, slowness: float = 1.0, knows_all: bool = False
    ) -> None:
        self.cache = ConversationCache(machine.host_cache, n_common)
        self.running: list[_Sequence] = []
        self.waiting: deque[Request] = deque()
        self.used_cells = 0
        self._machine = machine
        self._n_common = n_common
        self._slowness = slowness
        self._knows_all = knows_all
        self._began = 0.0
        self._step_seconds = 0.0
        self._copy_seconds = 0.0
        self._n_steps = 0  # 0: it is idle

    @property
    def usage(self) -> float:
        """The part of the KV cache that is in use."""
        return self.used_cells / self._machine.cells

    @property
    def is_busy(self) -> bool:
        """True while it takes steps."""
        return self._n_steps > 0

    def submit(self, request: Request, now: float) -> float | None:
        """Queue a request; return when the steps under way end, if that has changed."""
        self.waiting.append(request)
        if not self._n_steps:
            return self.begin(now)
        if len(self.waiting) == 1 and self._fits(request):
            return self._cut(now)
        return None

    def begin(self, now: float) -> float | None:
        """Admit who has room, and begin the next steps; return when they end, or None if it is idle."""
        while self.waiting and self._fits(self.waiting[0]):
            self._admit(self.waiting.popleft())
        if not self.running:
            return None
        self._plan()
        self._began = now
        return self._end(self._n_steps)

    def finish(self, now: float) -> list[Request]:
        """End the steps under way; return the requests whose answers they completed."""
        n_steps, self._n_steps, self._copy_seconds = self._n_steps, 0, 0.0
        done: list[Request] = []
        for sequence in self.running:
            if sequence.prompt_left:
                computed = min(sequence.span * n_steps, sequence.prompt_left)
                sequence.depth += computed
                sequence.prompt_left -= computed
                if sequence.prompt_left:
                    continue
                sequence.answer_left -= 1
                if sequence.request.first_token < 0:
                    sequence.request.first_token = now
            else:
                sequence.depth += n_steps
                sequence.answer_left -= n_steps
            if sequence.answer_left <= 0:
                sequence.request.done = now
                done.append(sequence.request)
        if done:
            self._leave([sequence for sequence in self.running if sequence.answer_left <= 0])
        return done

    def die(self, now: float) -> list[Request]:
        """Lose everything; return the requests that somebody else must answer.

        What was sent of an answer becomes a part of the prompt.
        """
        if self._n_steps:
            passed = now - self._began - self._copy_seconds
            self._n_steps = max(int(passed / self._step_seconds), 0)
            self.finish(now)
        lost = list(self.waiting)
        for sequence in self.running:
            request = sequence.request
            request.n_sent = request.output - sequence.answer_left
            request.prompt = request.first_prompt + request.n_sent
            request.n_retries += 1
            lost.append(request)
        self.running.clear()
        self.waiting.clear()
        self.cache.clear()
        self.used_cells = self._n_steps = 0
        self._copy_seconds = 0.0
        return lost

    # --- slots and prefixes ------------------------------------------------------------------------------

    def _fits(self, request: Request) -> bool:
        free = self._machine.cells - self.used_cells
        return len(self.running) < self._machine.slots and _cells(request) <= free

    def _admit(self, request: Request) -> None:
        cached = self._cached(request)
        if request.n_retries == 0:
            request.cached = cached
        self.used_cells += _cells(request)
        self._copy_seconds += cached * self._machine.restore
        self.running.append(_Sequence(request, cached))

    def _cached(self, request: Request) -> int:
        """Return how many tokens of a prompt need not be computed; its last token always is."""
        if self._knows_all:
            return min(request.known, request.prompt - 1)
        kept, holder = self.cache.match(request.conversation, request.prompt - 1)
        beside = any(sequence.depth >= self._n_common for sequence in self.running)
        shared = min(self._n_common, request.prompt - 1) if beside else 0
        if kept > shared and holder is not None:
            self.cache.touch(holder)
        return max(kept, shared)

    def _leave(self, sequences: list[_Sequence]) -> None:
        for sequence in sequences:
            self.running.remove(sequence)
            self.used_cells -= _cells(sequence.request)
            self._copy_seconds += sequence.depth * self._machine.save
            self.cache.add(sequence.request.conversation, sequence.depth)

    # --- steps -------------------------------------------------------------------------------------------

    def _plan(self) -> None:
        """Choose the next steps: what each computes, what it takes, and for how many that stays so."""
        decodes = [sequence for sequence in self.running if not sequence.prompt_left]
        prompts = [sequence for sequence in self.running if sequence.prompt_left]
        n_steps = min([_MOST_STEPS, *(sequence.answer_left for sequence in decodes)])
        n_tokens = self._spread(decodes, prompts) if prompts else 0
        if prompts:
            lefts = (sequence.prompt_left // sequence.span for sequence in prompts if sequence.span)
            n_steps = max(min(n_steps, *lefts), 1)
        cost, n_decodes = self._machine.cost, len(decodes)
        half = (n_steps - 1) / 2
        depth = Depth(
            _mean_depth(decodes) + half if decodes else 0.0,
            _mean_depth(prompts) + half * n_tokens / len(prompts) if prompts else 0.0,
        )
        padding = cost.widths[n_decodes] - n_decodes if not prompts else 0
        self._n_steps = n_steps
        self._step_seconds = self._slowness * cost.seconds(n_decodes, n_tokens, padding=padding, depth=depth)

    def _spread(self, decodes: list[_Sequence], prompts: list[_Sequence]) -> int:
        """Give the room beside the decodes to prompts; return the tokens of all of them."""
        room = MAX_STEP - len(decodes)
        if decodes:
            room = min(room, self._budget(decodes, prompts))
        oldest = prompts[0]  # sequences run in order of their turns
        reserved = min(oldest.prompt_left, room - room // 2)
        left = room
        for sequence in sorted(prompts, key=_prompt_left):
            if sequence is oldest:
                reserved = 0
            sequence.span = max(min(sequence.prompt_left, left - reserved), 0)
            left -= sequence.span
        return room - left

    def _budget(self, decodes: list[_Sequence], prompts: list[_Sequence]) -> int:
        key = (
            len(decodes),
            len(prompts),
            *(int(_mean_depth(each)) // _DEPTHS for each in (decodes, prompts)),
        )
        budget = self._machine.budgets.get(key)
        if budget is None:
            depth = Depth(*((place + 0.5) * _DEPTHS for place in key[2:]))
            budget = prefill_budget(self._machine.cost, len(decodes), len(prompts), depth)
            self._machine.budgets[key] = budget
        return budget

    def _cut(self, now: float) -> float | None:
        """End after the step that is under way now; return when, unless nothing changes."""
        passed = now - self._began - self._copy_seconds
        n_steps = max(int(passed / self._step_seconds) + 1, 1)
        if n_steps >= self._n_steps:
            return None
        self._n_steps = n_steps
        return self._end(n_steps)

    def _end(self, n_steps: int) -> float:
        return self._began + self._copy_seconds + n_steps * self._step_seconds


def _cells(request: Request) -> int:
    """Return the cells that are reserved for a request: all that it may need."""
    return request.first_prompt + request.output


def _mean_depth(sequences: list[_Sequence]) -> float:
    return sum([sequence.depth for sequence in sequences]) / len(sequences)


def _prompt_left(sequence: _Sequence) -> int:
    return sequence.prompt_left
