"""Who runs in the next step: slots, admission, prefix sharing and the token budget.

Pure bookkeeping: no clock, no I/O, no llama.cpp. A plan is a list of facts for the step loop to carry out, so
a test can drive the scheduler with a table of events.

A slot is a text in the KV cache. A sequence is admitted when fewer than ``n_running`` run and the cache can
hold all that it may come to need, so a running sequence never meets a full cache. It starts from the longest
prefix of its prompt that any slot holds, running or not. What it leaves behind when it ends is kept for
others, until its slot or its cells are needed; what was used least recently goes first.

Admission is in order of arrival, but for one case: while a running sequence computes a prefix that a waiting
one could share, that one is held back, and others may pass it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.core.prefix import Match, PrefixTree, common_prefix
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


_WORTH_WAITING = 32
"""Tokens of prefill to be spared, from which a sequence waits for another one's."""


class Scheduler:
    """Decides; the step loop does.

    Args:
        n_slots: Texts that the cache may hold, running or kept.
        n_cells: Tokens that the KV cache holds, over all slots.
        budget: Most tokens to decode in one step; at least ``n_running``.
        n_running: Sequences that may run at once; ``n_slots`` unless told otherwise.
        keeps: Whether texts are kept when their sequence has ended; not where the cache cannot be cut.
    """

    def __init__(
        self,
        n_slots: int,
        n_cells: int,
        budget: int,
        *,
        n_running: int | None = None,
        keeps: bool = True,
    ) -> None:
        self._most_running = n_slots if n_running is None else n_running
        if budget < self._most_running:
            raise ValueError(f"a step must have room for all {self._most_running} slots, not {budget} tokens")
        self._n_cells = n_cells
        self._budget = budget
        self.interleave = budget
        """Most prompt tokens in a step in which others decode; at least 1."""
        self._keeps = keeps
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []
        self._cache = PrefixTree()
        self._empty = list(range(n_slots))  # slots without a text
        self._kept: dict[int, None] = {}  # slots whose sequence has ended, the least recently used first
        self._spoilt: list[int] = []  # slots to be emptied before their next use, whatever they hold
        self._promised = 0  # cells that running sequences may still come to need
        self._full = False  # whether the first who waits found no room, and nothing has changed since

    @property
    def has_work(self) -> bool:
        """Tell whether a plan would do anything."""
        return bool(self._waiting or self._running or self._spoilt)

    @property
    def n_running(self) -> int:
        """How many sequences run."""
        return len(self._running)

    @property
    def n_waiting(self) -> int:
        """How many sequences wait for a slot."""
        return len(self._waiting)

    @property
    def free_cells(self) -> int:
        """KV cells that no running sequence holds or may come to need; some hold texts that are kept."""
        held = self._cache.cells_held((seq.slot for seq in self._running), besides=Match(0, None))
        return self._n_cells - self._promised - held

    @property
    def used_cells(self) -> int:
        """KV cells in use: by running sequences, and by texts that are kept."""
        return self._cache.n_cells

    def length(self, slot: int) -> int:
        """Return how many tokens a slot holds in the cache, running or kept."""
        return self._cache.length(slot)

    def submit(self, prompt: Prompt) -> None:
        """Queue all choices of a prompt."""
        self._waiting.extend(prompt.sequences)

    def unfinished(self) -> list[Sequence]:
        """Return every sequence that runs or waits."""
        return [*self._running, *self._waiting]

    def cancel(self, owner: Hashable) -> None:
        """Forget every sequence of one request; its slots are free for the next plan."""
        self._waiting = deque(seq for seq in self._waiting if seq.prompt.owner is not owner)
        self._full = False
        for sequence in [seq for seq in self._running if seq.prompt.owner is owner]:
            sequence.phase = Phase.FINISHED
            self.retire(sequence)

    def retire(self, sequence: Sequence, *, spoilt: bool = False) -> None:
        """Take back the slot of a sequence that has ended; a spoilt text is not kept."""
        self._running.remove(sequence)
        self._promised -= sequence.promised
        sequence.promised = 0
        self._full = False
        if spoilt or not self._keeps:
            self._cache.cut(sequence.slot, 0)
            self._spoilt.append(sequence.slot)
        elif self._cache.length(sequence.slot):
            self._kept[sequence.slot] = None
        else:
            self._empty.append(sequence.slot)

    def distrust(self) -> None:
        """After a failed decode: rely on nothing in the cache, and empty every slot before its next use."""
        self._spoilt = sorted({*self._spoilt, *self._kept, *self._empty})
        self._kept.clear()
        self._empty.clear()
        self._cache = PrefixTree()

    def plan(self) -> Plan:
        """Decide the next step: running decodes first, then as much prefill as the budget leaves."""
        plan = Plan()
        self._empty_spoilt(plan)
        self._admit(plan)
        for sequence in self._running:
            if sequence.phase is Phase.DECODE:
                plan.spans.append(Span(sequence, sequence.computed, sequence.generated[-1:], [sequence]))
        room = self._budget - len(plan.spans)
        if plan.spans:
            room = min(room, self.interleave)
        for sequence in self._running:
            if room > 0 and sequence.phase is Phase.PREFILL:
                span = self._chunk(sequence, room)
                plan.spans.append(span)
                room -= len(span.tokens)
        return plan

    def computed(self, span: Span) -> None:
        """Note that a span has been decoded, and its forks made: their tokens are in the cache."""
        leader = span.sequence
        self._cache.extend(leader.slot, span.tokens)
        leader.computed = span.start + len(span.tokens)
        leader.promised -= len(span.tokens)
        self._promised -= len(span.tokens)
        if leader.phase is Phase.PREFILL:
            for drawer in span.draws:
                drawer.phase = Phase.DECODE
                if drawer is not leader:
                    drawer.computed = leader.computed
                    self._cache.share(leader.slot, drawer.slot, leader.computed)

    def _chunk(self, sequence: Sequence, room: int) -> Span:
        start, prompt = sequence.computed, sequence.prompt.tokens
        tokens = prompt[start : start + room]
        if start + len(tokens) < len(prompt):
            return Span(sequence, start, tokens, [])
        forks = [seq for seq in self._running if seq.prompt is sequence.prompt and seq.phase is Phase.FORK]
        return Span(sequence, start, tokens, [sequence, *forks])

    # --- admission ---------------------------------------------------------------------------------------

    def _admit(self, plan: Plan) -> None:
        """Admit from the head of the queue on, until somebody finds no room; pass by who had better wait."""
        if self._full:
            return
        if not self._running and self._waiting and self._waiting[0].prompt.repeats:
            # llama.cpp rounds differently where a text lies elsewhere in the cache, or was computed in other
            # pieces: who is to repeat finds it as empty as the time before.
            while self._kept:
                self._empty.append(self._evict(plan))
            self._empty.sort()
        held_back: list[Sequence] = []
        while self._waiting and len(self._running) < self._most_running:
            sequence = self._waiting[0]
            if self._had_better_wait(sequence):
                held_back.append(self._waiting.popleft())
            elif self._place(sequence, plan):
                self._waiting.popleft()
                self._running.append(sequence)
                plan.admitted.append(sequence)
            else:
                self._full = True
                break
        self._waiting.extendleft(reversed(held_back))
        self._full = self._full and not held_back

    def _had_better_wait(self, sequence: Sequence) -> bool:
        """Tell whether somebody is about to compute a good part of the prompt."""
        if not self._keeps:
            return False
        if sequence.awaits is not None and self._is_computing(*sequence.awaits):
            return True
        sequence.awaits = None
        for other in self._running:
            if other.phase is not Phase.PREFILL or other.prompt is sequence.prompt:
                continue
            shared = common_prefix(other.prompt.tokens, sequence.prompt.tokens[:-1])
            if shared >= other.computed + _WORTH_WAITING:
                sequence.awaits = (other, shared)
                return True
        return False

    @staticmethod
    def _is_computing(other: Sequence, length: int) -> bool:
        return other.phase is Phase.PREFILL and other.computed < length

    def _place(self, sequence: Sequence, plan: Plan) -> bool:
        """Give a slot to a sequence, with the longest part of its prompt that is cached; False: no room."""
        prompt = sequence.prompt
        if any(seq.prompt is prompt and seq.phase is Phase.PREFILL for seq in self._running):
            found, need, phase = Match(0, None), sequence.max_tokens, Phase.FORK
        else:
            # The last token is decoded again in any case: its logits are needed.
            found = self._cache.match(prompt.tokens[:-1]) if self._keeps else Match(0, None)
            need, phase = len(prompt.tokens) - found.length + sequence.max_tokens, Phase.PREFILL
        if not self._may_have(need, found):
            return False
        sequence.slot = self._take_slot(found, plan)
        while self._cache.n_cells + self._promised + need > self._n_cells:
            self._empty.append(self._evict(plan))
        sequence.phase, sequence.computed, sequence.promised = phase, found.length, need
        self._promised += need
        if sequence is prompt.sequences[0]:
            prompt.n_cached = found.length
        return True

    def _may_have(self, need: int, found: Match) -> bool:
        """Tell whether there is room for so many cells, were nothing kept but the prefix that was found."""
        if self._cache.n_cells + self._promised + need <= self._n_cells:
            return True
        held = self._cache.cells_held((seq.slot for seq in self._running), besides=found)
        return held + self._promised + need <= self._n_cells

    def _take_slot(self, found: Match, plan: Plan) -> int:
        """Take a slot and let it hold the prefix that was found."""
        if found.slot in self._kept:
            del self._kept[found.slot]
            if not self._empty:  # what follows the prefix is worth less than another text
                plan.cache.append(Truncate(found.slot, found.length))
                self._cache.cut(found.slot, found.length)
                return found.slot
            self._kept[found.slot] = None  # used just now
        slot = self._empty.pop(0) if self._empty else self._evict(plan)
        if found.slot is not None:
            plan.cache.append(Copy(found.slot, slot, found.length))
            self._cache.share(found.slot, slot, found.length)
        return slot

    def _evict(self, plan: Plan) -> int:
        """Empty the kept slot that was used least recently."""
        slot = next(iter(self._kept))
        del self._kept[slot]
        plan.cache.append(Truncate(slot, 0))
        self._cache.cut(slot, 0)
        return slot

    def _empty_spoilt(self, plan: Plan) -> None:
        for slot in self._spoilt:
            plan.cache.append(Truncate(slot, 0))
            self._empty.append(slot)
        self._spoilt.clear()
