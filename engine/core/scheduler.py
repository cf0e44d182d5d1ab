"""Who runs in the next step: admission, preemption, prefix sharing and the token budget.

Pure bookkeeping: no clock, no I/O, no llama.cpp. A plan is a list of facts for the step loop to carry out, so
a test can drive the scheduler with a table of events.

A sequence is admitted when a slot is empty and the cache can hold the rest of its prompt and a good piece of
its completion, beside those of all others. It starts from the longest prefix of its text that
any slot holds, or that was kept of a text that has left. When completions outgrow the cache, the sequence
whose turn came last is preempted: it waits again, at its old place in the queue, and goes on later. The one
whose turn came first is never preempted, so there is always somebody who gets to the end.

Admission is in order of turns, but for one case: while a running sequence computes a prefix that a waiting
one could share, that one is held back, and others may pass it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.core.plan import Plan, Span
from engine.core.queue import FairQueue
from engine.core.sequence import Phase, Prompt, Sequence
from engine.kvcache.prefix_tree import common_prefix
from engine.kvcache.slots import PrefixMatch, Slots

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

_WORTH_WAITING = 32
"""Tokens of prefill to be spared, from which a sequence waits for another one's."""
_AHEAD = 64
"""Tokens of a completion that must have room before its sequence is admitted."""
_SHELF_SHARE = 8
"""So many-th part of the cache may lie on the shelf while somebody waits for room."""


class Scheduler:
    """Decides; the step loop does.

    Args:
        slots: The KV cache. It must hold any one prompt together with its completion.
        budget: Most tokens to decode in one step; at least one for each slot.
        prompt_tokens_beside: Most prompt tokens in a step in which so many sequences decode and so many wait
            for their prompts, 0 now and then; as many as the budget leaves unless told otherwise.
        scored: Most tokens in a step of prompts whose tokens are scored, at least 1.
        batch_invariant: Most tokens in a step with somebody who repeats; 0 where that cannot be promised.
    """

    def __init__(
        self,
        slots: Slots,
        budget: int,
        prompt_tokens_beside: Callable[[int, int], int] | None = None,
        *,
        scored: int = 64,
        batch_invariant: int = 0,
    ) -> None:
        if budget < slots.n_slots:
            raise ValueError(f"a step must have room for all {slots.n_slots} slots, not {budget} tokens")
        self.slots = slots
        self._budget = budget
        self._scored = scored
        self._batch_invariant = batch_invariant
        self._prompt_tokens_beside = prompt_tokens_beside or (lambda _decodes, _prompts: budget)
        self._waiting = FairQueue()
        self._running: list[Sequence] = []  # in order of admission
        self._full = False  # whether the first who waits found no room, and nothing has changed since

    @property
    def has_work(self) -> bool:
        """Tell whether a plan would do anything."""
        return bool(self._waiting or self._running or self.slots.has_operations or self.slots.n_deferred)

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
        """KV cells that nobody uses."""
        return self.slots.free_cells

    def submit(self, prompt: Prompt) -> None:
        """Queue all choices of a prompt."""
        self._waiting.add(prompt)

    def unfinished(self) -> list[Sequence]:
        """Return every sequence that runs or waits."""
        return [*self._running, *self._waiting]

    def cancel(self, owner: Hashable) -> None:
        """Forget every sequence of one request; its slots are free for the next plan."""
        self._waiting.remove(lambda sequence: sequence.prompt.owner is owner)
        self._full = False
        for sequence in [seq for seq in self._running if seq.prompt.owner is owner]:
            sequence.phase = Phase.FINISHED
            self.retire(sequence)

    def retire(self, sequence: Sequence, *, discard: bool = False) -> None:
        """Take back the slot of a sequence that has ended; a discard text is not kept."""
        self._running.remove(sequence)
        self._leave(sequence, None if discard else sequence.tokens[: sequence.computed])
        self._full = False

    def plan(self) -> Plan:
        """Decide the next step: running decodes first, then as much prefill as the budget leaves."""
        plan = Plan()
        self._tidy()
        self._admit(plan)
        plan.decodes = self._decodes(plan)
        plan.batch_invariant = self._needs_batch_invariance
        if len(plan.decodes) < len(self._running):
            plan.prompts = self._spans(len(plan.decodes))
        plan.cache = self.slots.take_operations()
        return plan

    def computed(self, plan: Plan) -> None:
        """Note that a plan has been decoded, and its forks made: their tokens are in the cache."""
        for sequence in plan.decodes:
            self.slots.append(sequence.slot, sequence.generated[-1])
            sequence.computed += 1
        for span in plan.prompts:
            self._computed_prompt(span)

    def _computed_prompt(self, span: Span) -> None:
        leader = span.sequence
        self.slots.extend(leader.slot, span.tokens)
        leader.computed = span.end
        for drawer in span.draws:
            drawer.phase = Phase.DECODE
            if drawer is not leader:
                drawer.computed = span.end
                self.slots.share(leader.slot, drawer.slot, span.end)

    @property
    def _needs_batch_invariance(self) -> bool:
        return self._batch_invariant > 0 and any(
            sequence.prompt.batch_invariant for sequence in self._running
        )

    # --- what a step computes ----------------------------------------------------------------------------

    def _decodes(self, plan: Plan) -> list[Sequence]:
        """Return who decodes; preempt until each of them has a cell for its token."""
        while True:
            decodes = [sequence for sequence in self._running if sequence.phase is Phase.DECODE]
            if len(decodes) <= self.slots.free_cells:
                return decodes
            self._preempt_last(plan)

    def _spans(self, n_decodes: int) -> list[Span]:
        """Give what the decodes leave to prompts, the shortest first, but half of it to the first by turn.

        So a short prompt does not wait behind a long one, nor that behind any number of short ones. Those
        that lost their slot go before both: somebody is in the middle of their answer, and if they came
        after newcomers, these could take the slot away again before they got anywhere.
        """
        spans: list[Span] = []
        room, scored = self._room_for_prompts(n_decodes), self._scored
        waiting = [sequence for sequence in self._running if sequence.phase is Phase.PREFILL]
        if not waiting:
            return spans
        first = min(waiting, key=lambda sequence: sequence.turn)
        kept = min(_left(first), room - room // 2)
        for sequence in sorted(waiting, key=lambda sequence: (not sequence.n_preempted, _left(sequence))):
            if sequence is first:
                kept = 0
            is_scored = sequence.prompt.lacks_scores
            most = min(room - kept, scored) if is_scored else room - kept
            if most <= 0:
                continue
            spans.append(span := self._chunk(sequence, most))
            span.is_scored = is_scored
            room -= len(span.tokens)
            scored -= len(span.tokens) if is_scored else 0
        return spans

    def _room_for_prompts(self, n_decodes: int) -> int:
        """Return how many prompt tokens the step and the cache have room for."""
        budget = self._budget
        if n_decodes < self._batch_invariant and self._needs_batch_invariance:
            budget = min(budget, self._batch_invariant)
        room = min(budget, self.slots.free_cells) - n_decodes
        if n_decodes == 0:
            return room
        return min(room, self._prompt_tokens_beside(n_decodes, len(self._running) - n_decodes))

    def _chunk(self, sequence: Sequence, room: int) -> Span:
        start, text = sequence.computed, sequence.tokens
        tokens = text[start : start + room]
        if start + len(tokens) < len(text):
            return Span(sequence, start, tokens, [])
        forks = [seq for seq in self._running if seq.phase is Phase.FORK and self._leads(sequence, seq)]
        return Span(sequence, start, tokens, [sequence, *forks])

    # --- admission ---------------------------------------------------------------------------------------

    def _admit(self, plan: Plan) -> None:
        """Admit who waits, in turn, until somebody finds no room; pass by who had better wait."""
        held_back: list[Sequence] = []
        while self._waiting and not self._full and len(self._running) < self.slots.n_slots:
            sequence = self._waiting.pop()
            if self._had_better_wait(sequence):
                held_back.append(sequence)
            elif self._place(sequence):
                plan.admitted.append(sequence)
            else:
                self._waiting.put_back(sequence)
                self._full = True
        for sequence in held_back:
            self._waiting.put_back(sequence)
            self._full = False

    def _had_better_wait(self, sequence: Sequence) -> bool:
        """Tell whether somebody is about to compute a good part of the prompt."""
        if not self.slots.prefix_cache or sequence.prompt.lacks_scores:
            return False
        if sequence.awaits is not None and self._is_computing(*sequence.awaits):
            return True
        sequence.awaits = None
        for other in self._running:
            if other.phase is not Phase.PREFILL or other.prompt is sequence.prompt:
                continue
            if sequence.prompt.batch_invariant and not other.prompt.batch_invariant:
                continue
            shared = common_prefix(other.prompt.tokens, sequence.prompt.tokens[:-1])
            if shared >= other.computed + _WORTH_WAITING:
                sequence.awaits = (other, shared)
                return True
        return False

    @staticmethod
    def _is_computing(other: Sequence, length: int) -> bool:
        return other.phase is Phase.PREFILL and other.computed < length

    def _place(self, sequence: Sequence) -> bool:
        """Let a sequence run, from the longest part of its text that is cached; False: no room."""
        if any(self._leads(other, sequence) for other in self._running):
            found, phase = PrefixMatch(), Phase.FORK
        else:
            found, phase = self._find(sequence), Phase.PREFILL
        need = self._still_needs(sequence, phase, found.shared)
        promised = sum(self._still_needs(seq, seq.phase, seq.computed) for seq in self._running)
        if promised + need > self.slots.free_cells:
            return False
        sequence.slot = self.slots.take(found, batch_invariant=sequence.prompt.batch_invariant)
        sequence.phase, sequence.computed = phase, found.length
        if sequence is sequence.prompt.sequences[0] and not sequence.n_preempted:
            sequence.prompt.n_cached = found.length
        self._running.append(sequence)
        return True

    def _find(self, sequence: Sequence) -> PrefixMatch:
        """Find the longest prefix of a text that need not be computed.

        The last token is always decoded again, since its logits are needed. llama.cpp rounds differently when
        the same tokens are computed in other chunks, so a batch-invariant sequence uses batch-invariant
        prefixes only. A prompt whose tokens are scored needs the logits of all of them.
        """
        if sequence.prompt.lacks_scores:
            return PrefixMatch()
        return self.slots.match(sequence.tokens[:-1], batch_invariant=sequence.prompt.batch_invariant)

    @staticmethod
    def _leads(leader: Sequence, sequence: Sequence) -> bool:
        """Tell whether a sibling is about to compute all that a sequence needs."""
        return (
            leader.prompt is sequence.prompt
            and leader.phase is Phase.PREFILL
            and not (leader.generated or sequence.generated)
        )

    @staticmethod
    def _still_needs(sequence: Sequence, phase: Phase, computed: int) -> int:
        """Return the cells that a sequence takes for the rest of its text and a piece of its completion."""
        held = len(sequence.prompt.tokens) if phase is Phase.FORK else computed
        return min(sequence.length + _AHEAD, sequence.most_cells) - held

    # --- order in the cache ------------------------------------------------------------------------------

    def _leave(self, sequence: Sequence, tokens: list[int] | None) -> None:
        """Take back a slot; its cells stay where they are while they lie below those of who repeats."""
        self.slots.leave(sequence.slot, tokens, defers_free=self._needs_batch_invariance)

    def _tidy(self) -> None:
        """Free the cells on the shelf once nobody minds; if they are needed before, lay out anew who does.

        Whoever repeats leaves the cache and comes back, in the same step, to cells that are in order.
        """
        if self.slots.n_deferred and (self._lacks_cells() or not self._needs_batch_invariance):
            self._free_deferred()

    def _free_deferred(self) -> None:
        for sequence in [running for running in self._running if running.prompt.batch_invariant]:
            self._send_back(sequence)
        self.slots.free_deferred()
        self._full = False

    def _lacks_cells(self) -> bool:
        if self._full and self.slots.n_deferred * _SHELF_SHARE >= self.slots.n_cells:
            return True
        needed = sum(self._still_needs(seq, seq.phase, seq.computed) for seq in self._running)
        return needed > self.slots.free_cells

    # --- preemption --------------------------------------------------------------------------------------

    def _preempt_last(self, plan: Plan) -> None:
        """Send the sequence whose turn came last back to the queue."""
        sequence = max(self._running, key=lambda running: running.turn)
        self._send_back(sequence)
        plan.preempted.append(sequence)
        if self.slots.n_deferred:  # which has not given anybody a cell
            self._free_deferred()

    def _send_back(self, sequence: Sequence) -> None:
        self._running.remove(sequence)
        self._leave(sequence, sequence.tokens[: sequence.computed])
        sequence.preempt()
        self._waiting.put_back(sequence)


def _left(sequence: Sequence) -> int:
    """Return how many tokens of its text are not computed."""
    return sequence.length - sequence.computed
