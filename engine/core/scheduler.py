"""Who runs in the next step: slots, admission and the token budget.

Pure bookkeeping: no clock, no I/O, no llama.cpp. A plan is a list of facts for the step loop to carry out, so
a test can drive the scheduler with a table of events.

Admission is in order of arrival. A sequence is admitted when a slot is free and the KV cache can hold all
that it may come to need (its prompt, counted once among siblings, and ``max_tokens``), so a running sequence
never meets a full cache.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.core.prefix import PrefixIndex
from engine.core.sequence import Phase, Prompt, Sequence

if TYPE_CHECKING:
    from collections.abc import Hashable


@dataclass(slots=True)
class Span:
    """Tokens of one sequence to decode in this step."""

    sequence: Sequence
    start: int
    tokens: list[int]
    draws: list[Sequence]
    """Who draws from the last token's logits: nobody in mid-prompt, else the sequence and its forks."""


@dataclass(frozen=True, slots=True)
class Copy:
    """Share the first ``length`` positions of one slot's cache with another slot."""

    source: int
    target: int
    length: int


@dataclass(frozen=True, slots=True)
class Truncate:
    """Cut one slot's cache to its first ``length`` positions."""

    slot: int
    length: int


@dataclass(slots=True)
class Plan:
    """One step: first the cache is arranged, in order, then the spans are decoded."""

    admitted: list[Sequence] = field(default_factory=list)
    cache: list[Copy | Truncate] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)


class Scheduler:
    """Decides; the step loop does.

    Args:
        n_slots: Sequences that may run at once.
        n_cells: Tokens that the KV cache holds, over all sequences.
        budget: Most tokens to decode in one step; at least ``n_slots``.
    """

    def __init__(self, n_slots: int, n_cells: int, budget: int) -> None:
        if budget < n_slots:
            raise ValueError(f"a step must have room for all {n_slots} slots, not {budget} tokens")
        self._n_cells = n_cells
        self._budget = budget
        self._free = list(range(n_slots))
        self._dirty: set[int] = set()  # free slots with something left in the cache
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []
        self._prefixes = PrefixIndex()
        self._reserved = 0

    @property
    def has_work(self) -> bool:
        """Tell whether a plan would do anything."""
        return bool(self._waiting or self._running or self._dirty)

    @property
    def n_running(self) -> int:
        """How many sequences hold a slot."""
        return len(self._running)

    @property
    def n_waiting(self) -> int:
        """How many sequences wait for a slot."""
        return len(self._waiting)

    @property
    def free_cells(self) -> int:
        """KV cells that nobody has reserved."""
        return self._n_cells - self._reserved

    def submit(self, prompt: Prompt) -> None:
        """Queue all choices of a prompt."""
        self._waiting.extend(prompt.sequences)

    def unfinished(self) -> list[Sequence]:
        """Return every sequence that runs or waits."""
        return [*self._running, *self._waiting]

    def cancel(self, owner: Hashable) -> None:
        """Forget every sequence of one request; its slots are free for the next plan."""
        self._waiting = deque(seq for seq in self._waiting if seq.prompt.owner is not owner)
        for sequence in [seq for seq in self._running if seq.prompt.owner is owner]:
            sequence.phase = Phase.FINISHED
            self.retire(sequence)

    def retire(self, sequence: Sequence) -> None:
        """Take back the slot of a sequence that has finished or failed."""
        self._running.remove(sequence)
        self._free.append(sequence.slot)
        self._dirty.add(sequence.slot)
        self._reserved -= self._need(sequence)

    def distrust(self) -> None:
        """After a failed decode: rely on nothing in the cache, and empty every slot before its next use."""
        self._prefixes = PrefixIndex()
        self._dirty = set(self._free)

    def plan(self) -> Plan:
        """Decide the next step: running decodes first, then as much prefill as the budget leaves."""
        plan = Plan()
        self._clean(plan)
        self._admit(plan)
        self._clean(plan)  # what was kept for a sequence that has just been admitted
        for sequence in self._running:
            if sequence.phase is Phase.DECODE:
                plan.spans.append(Span(sequence, sequence.computed, sequence.generated[-1:], [sequence]))
        room = self._budget - len(plan.spans)
        for sequence in self._running:
            if room > 0 and sequence.phase is Phase.PREFILL:
                span = self._chunk(sequence, room)
                plan.spans.append(span)
                room -= len(span.tokens)
        return plan

    def computed(self, span: Span) -> None:
        """Note that a span has been decoded, and its forks made: their tokens are in the cache."""
        span.sequence.computed = span.start + len(span.tokens)
        if span.sequence.phase is Phase.PREFILL:
            for drawer in span.draws:
                drawer.phase = Phase.DECODE
                drawer.computed = span.sequence.computed
                self._prefixes.hold(drawer.slot, drawer.prompt)

    def _chunk(self, sequence: Sequence, room: int) -> Span:
        start, prompt = sequence.computed, sequence.prompt.tokens
        tokens = prompt[start : start + room]
        if start + len(tokens) < len(prompt):
            return Span(sequence, start, tokens, [])
        siblings = self._siblings(sequence.prompt)
        leader = next(seq for seq in siblings if seq.phase is Phase.PREFILL)
        forks = [seq for seq in siblings if seq.phase is Phase.FORK] if sequence is leader else []
        return Span(sequence, start, tokens, [sequence, *forks])

    def _admit(self, plan: Plan) -> None:
        while self._waiting and self._free and self._need(self._waiting[0]) <= self.free_cells:
            sequence = self._waiting.popleft()
            self._reserved += self._need(sequence)
            self._place(sequence, plan)
            self._running.append(sequence)
            plan.admitted.append(sequence)

    def _place(self, sequence: Sequence, plan: Plan) -> None:
        """Give a slot to a sequence, and with it whatever part of its prompt is in the cache already."""
        prompt = sequence.prompt
        holders = self._prefixes.holders(prompt)
        reusable = len(prompt.tokens) - 1  # the last token is decoded again: its logits are needed
        slot = self._take_slot(holders)
        if slot in holders:
            plan.cache.append(Truncate(slot, reusable))
        elif slot in self._dirty:
            plan.cache.append(Truncate(slot, 0))
        if holders and slot not in holders:
            plan.cache.append(Copy(holders[0], slot, reusable))
        self._dirty.discard(slot)
        self._prefixes.drop(slot)
        sequence.slot = slot
        sequence.computed = reusable if holders else 0
        sequence.phase = Phase.PREFILL if holders or not self._siblings(prompt) else Phase.FORK

    def _take_slot(self, holders: list[int]) -> int:
        """Take a free slot: best one that holds the prompt, next best an empty one."""
        slot = min(self._free, key=lambda free: (free not in holders, free in self._dirty, free))
        self._free.remove(slot)
        return slot

    def _clean(self, plan: Plan) -> None:
        """Empty the free slots whose cache no waiting sequence can use."""
        if not self._dirty:
            return
        wanted = {seq.prompt for seq in self._waiting}
        for slot in sorted(self._dirty):
            if self._prefixes.holds(slot) not in wanted:
                plan.cache.append(Truncate(slot, 0))
                self._prefixes.drop(slot)
                self._dirty.remove(slot)

    def _need(self, sequence: Sequence) -> int:
        """KV cells to reserve for a sequence that is not running; a prompt counts once among siblings."""
        shared = bool(self._siblings(sequence.prompt))
        return sequence.max_tokens + (0 if shared else len(sequence.prompt.tokens))

    def _siblings(self, prompt: Prompt) -> list[Sequence]:
        return [seq for seq in self._running if seq.prompt is prompt]
