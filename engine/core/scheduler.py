"""Which sequences run in the next step: admission, preemption, prefix sharing and the token budget.

Pure bookkeeping: no clock, no I/O, no llama.cpp. A plan is data that the step loop carries out, so a test can
drive the scheduler with a table of events.

A sequence is admitted when a slot is empty and the cache can hold the rest of its prompt and some tokens of
its completion, beside those of all running sequences. It starts from the longest prefix of its tokens that a
slot or the host cache holds. When completions outgrow the cache, the sequence whose turn came last is
preempted: it waits again, at its old place in the queue, and goes on later. So is the last one of a client
that has several slots while another client with at least two fewer waits. The sequence whose turn came
first is never preempted, so one sequence always reaches its end.

Admission is in order of turns, with two exceptions: a client that is short of slots comes first, and a
sequence waits while a running one computes a prefix that the two share, and others may pass it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from engine.backend.invariance import NEVER
from engine.core.phases import Phase
from engine.core.plan import Plan
from engine.core.policy import DEFAULT_POLICY, SchedulingPolicy
from engine.core.prompt_room import PromptRoom
from engine.core.queue import FairQueue
from engine.core.shared_prompts import awaits_prefix, leads
from engine.core.shares import Shares
from engine.core.spans import forced_spans, prompt_span
from engine.core.step_shape import StepShape
from engine.kvcache.prefix_match import PrefixMatch

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterator

    from engine.backend.invariance import BatchInvariance
    from engine.core.plan import Span
    from engine.core.sequence import Prompt, Sequence
    from engine.core.step_cost import StepCost
    from engine.kvcache.slots import Slots


class Scheduler:
    """Decides what a step does; the step loop carries it out.

    Args:
        slots: The KV cache. It must hold any one prompt together with its completion.
        budget: Most tokens to decode in one step; at least one for each slot.
        cost: What steps cost. By default a step has as many prompt tokens as it has room for, and no padding.
        scored: Most tokens in a step of prompts whose tokens are scored, at least 1.
        drafted: Most tokens of guesses in a step; 0 where the cache cannot be cut, or nobody wants them.
        batch_invariance: How steps are made batch-invariant; by default none is.
        policy: The numbers it decides by.
    """

    def __init__(
        self,
        slots: Slots,
        budget: int,
        *,
        cost: StepCost | None = None,
        scored: int = 64,
        drafted: int = 0,
        batch_invariance: BatchInvariance = NEVER,
        policy: SchedulingPolicy = DEFAULT_POLICY,
    ) -> None:
        if budget < slots.n_slots:
            raise ValueError(f"a step must have room for all {slots.n_slots} slots, not {budget} tokens")
        self.slots = slots
        self._shape = StepShape(budget, cost, batch_invariance)
        self._scored = scored
        self._drafted = drafted
        self._policy = policy
        self._waiting = FairQueue()
        self._running: list[Sequence] = []  # in order of admission
        self._full = False  # True after a waiting sequence found no room, until something changes
        self.n_preempted = 0  # how many times a sequence has lost its slot
        self._shared_out = False  # True once no client gets a slot of another's, until something changes

    @property
    def has_work(self) -> bool:
        """True if a plan would do anything."""
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
        """Queue all choices of a prompt; what had ended before it began is none of them."""
        if any(sequence.phase is Phase.WAITING for sequence in prompt.sequences):
            self._waiting.add(prompt)
        self._shared_out = False  # somebody else may be next

    def running(self) -> list[Sequence]:
        """Return every sequence that has a slot."""
        return self._running[:]

    def unfinished(self) -> list[Sequence]:
        """Return every sequence that runs or waits."""
        return [*self._running, *self._waiting]

    def cancel(self, owner: Hashable) -> None:
        """Forget every sequence of one request; its slots are free for the next plan."""
        self._waiting.remove(lambda sequence: sequence.prompt.owner is owner)
        self._reconsider()
        for sequence in [seq for seq in self._running if seq.prompt.owner is owner]:
            sequence.move_to(Phase.FINISHED)
            self.retire(sequence)

    def retire(self, sequence: Sequence, *, discard: bool = False) -> None:
        """Forget a sequence that has ended; the prefix in its slot is saved unless ``discard``."""
        if sequence.slot < 0:
            self._waiting.remove(lambda waiting: waiting is sequence)
        else:
            self._running.remove(sequence)
            self._leave(sequence, None if discard else sequence.tokens[: sequence.computed])
        self._reconsider()

    def plan(self) -> Plan:
        """Return the next step: the running decodes first, then as much prefill as the budget leaves."""
        plan = Plan()
        self.slots.trim()
        self._tidy()
        self._admit(plan)
        decodes = self._decodes(plan)
        plan.decodes = [sequence for sequence in decodes if not sequence.n_forced]
        plan.batch_invariant = self._needs_batch_invariance
        if len(plan.decodes) < len(decodes):
            plan.prompts = forced_spans(decodes, self._shape.room(plan))
        if len(decodes) < len(self._running):
            plan.prompts += self._prompt_spans(plan)
        elif self._drafted and not plan.prompts:
            plan.drafts = self._drafts(plan)
        plan.count()
        plan.padding = self._shape.padding(plan, self._reach(plan.n_tokens))
        plan.cache = self.slots.take_operations()
        return plan

    def computed(self, plan: Plan) -> None:
        """Note that a plan has been decoded, and its forks made: their tokens are in the cache."""
        for sequence in plan.decodes:
            self.accept(sequence)
        for sequence, draft in plan.drafts:
            self.slots.reserve(sequence.slot, len(draft))
        for span in plan.prompts:
            self._computed_prompt(span)

    def accept(self, sequence: Sequence) -> None:
        """Note that the token drawn last is in the cache, be it because it was guessed."""
        self.slots.append(sequence.slot, sequence.generated[-1])
        sequence.computed += 1

    def _computed_prompt(self, span: Span) -> None:
        leader = span.sequence
        self.slots.extend(leader.slot, span.tokens)
        leader.computed = span.end
        if leader.n_forced:
            leader.n_forced = max(leader.length - span.end - 1, 0)
        for drawer in span.draws:
            if drawer.phase is not Phase.DECODE:
                drawer.move_to(Phase.DECODE)
            if drawer is not leader:
                drawer.computed = span.end
                self.slots.share(leader.slot, drawer.slot, span.end)

    def _reach(self, n_tokens: int) -> int:
        """Return among how many cells at the beginning of the cache all are that so many more make used."""
        return max(self.slots.reach, self.slots.used_cells + n_tokens)

    @property
    def _needs_batch_invariance(self) -> bool:
        return self._shape.can_be_batch_invariant and any(
            sequence.prompt.batch_invariant for sequence in self._running
        )

    # --- what a step computes ----------------------------------------------------------------------------

    def _decodes(self, plan: Plan) -> list[Sequence]:
        """Return the sequences that decode; preempt until each of them has a cell for its token."""
        while True:
            decodes = [sequence for sequence in self._running if sequence.phase is Phase.DECODE]
            if len(decodes) + sum([sequence.n_forced for sequence in decodes]) <= self.slots.free_cells:
                return decodes
            self._preempt_last(plan)

    def _prompt_spans(self, plan: Plan) -> list[Span]:
        """Give the room that the decodes leave to prompts."""
        waiting = [sequence for sequence in self._running if sequence.phase is Phase.PREFILL]
        n_taken = len(plan.decodes) + sum(len(span.tokens) for span in plan.prompts)
        if not waiting or n_taken >= self.slots.free_cells:
            return []
        n_prompts = len(self._running) - len(plan.decodes) - len(plan.prompts)
        room = self._shape.prompt_tokens(waiting, n_prompts, n_taken, plan)
        room = min(room, self.slots.free_cells - n_taken)
        return PromptRoom(room, self._scored).spread(waiting, partial(prompt_span, running=self._running))

    def _drafts(self, plan: Plan) -> list[tuple[Sequence, list[int]]]:
        """Return guesses that are worth their rows, unless they would put cells out of order."""
        if plan.batch_invariant and len(self._running) > 1:
            return []
        n_decodes = len(plan.decodes)
        room = min(self.slots.free_cells - n_decodes, self._drafted)
        return self._shape.drafts(plan, room, self._reach(n_decodes))

    # --- admission ---------------------------------------------------------------------------------------

    def _admit(self, plan: Plan) -> None:
        """Admit waiting sequences in turn until one finds no room; skip those that wait for a prefix."""
        held_back: list[Sequence] = []
        if self._waiting and not self._shared_out:
            self._share_out(plan, held_back)
        while self._waiting and not self._full and len(self._running) < self.slots.n_slots:
            sequence = self._waiting.pop()
            if self._awaits_prefix(sequence):
                held_back.append(sequence)
            elif self._place(sequence):
                plan.admitted.append(sequence)
            else:
                self._waiting.put_back(sequence)
                self._full = True
        for sequence in held_back:
            self._waiting.put_back(sequence)
            self._reconsider()

    def _reconsider(self) -> None:
        self._full = self._shared_out = False

    def _share_out(self, plan: Plan, held_back: list[Sequence]) -> None:
        """Admit sequences of clients that are short of slots; others give up their youngest ones for them.

        Where the cache cannot be cut, their texts would be computed again; so there nobody gives up any.
        """
        self._shared_out = True
        while self.slots.prefix_cache:
            shares = Shares(self._running)
            sequence = self._waiting.pop_for(shares.is_short)
            if sequence is None:
                return
            if self._awaits_prefix(sequence):
                held_back.append(sequence)
            elif not self._make_place(sequence, shares.givers(sequence.prompt.client, plan.admitted), plan):
                self._waiting.put_back(sequence)
                return

    def _make_place(self, sequence: Sequence, givers: Iterator[Sequence], plan: Plan) -> bool:
        """Let a sequence run, if there is room once some of the givers have left, which only then do so."""
        found, phase = self._start(sequence)
        need = self._still_needs(sequence, phase, found.n_shared)
        leaving: list[Sequence] = []
        while not self._would_fit(need, leaving):
            giver = next(givers, None)
            if giver is None:
                return False
            leaving.append(giver)
        for giver in leaving:
            self._send_back(giver)
        plan.preempted += leaving
        if not self._place(sequence):
            return False
        plan.admitted.append(sequence)
        return True

    def _place(self, sequence: Sequence) -> bool:
        """Let a sequence run, from the longest cached prefix of its tokens; False: there is no room."""
        found, phase = self._start(sequence)
        if not self._would_fit(self._still_needs(sequence, phase, found.n_shared)):
            return False
        sequence.slot = self.slots.take(found, batch_invariant=sequence.prompt.batch_invariant)
        sequence.move_to(phase)
        sequence.computed = found.length
        if sequence is sequence.prompt.sequences[0] and not sequence.n_preempted:
            sequence.prompt.n_cached = min(found.length, len(sequence.prompt.tokens))
        self._running.append(sequence)
        return True

    def _awaits_prefix(self, sequence: Sequence) -> bool:
        shares = self.slots.prefix_cache and not sequence.prompt.lacks_scores
        return shares and awaits_prefix(sequence, self._running, self._policy.min_shared_prefix)

    def _start(self, sequence: Sequence) -> tuple[PrefixMatch, Phase]:
        """Return what a sequence that is admitted now starts from."""
        if any(leads(other, sequence) for other in self._running):
            return PrefixMatch(), Phase.FORK
        return self._longest_prefix(sequence), Phase.PREFILL

    def _would_fit(self, need: int, leaving: Collection[Sequence] = ()) -> bool:
        """Return True if there are a slot and so many cells once some sequences have left."""
        staying = [sequence for sequence in self._running if sequence not in leaving]
        promised = sum(self._still_needs(each, each.phase, each.computed) for each in staying)
        # Freeing is deferred while somebody needs cells in order.
        freed = 0 if self._needs_batch_invariance else sum(sequence.computed for sequence in leaving)
        return len(staying) < self.slots.n_slots and promised + need <= self.slots.free_cells + freed

    def _longest_prefix(self, sequence: Sequence) -> PrefixMatch:
        """Find the longest prefix of a text that need not be computed.

        The last token is always decoded again, since its logits are needed. llama.cpp rounds differently when
        the same tokens are computed in other chunks, so a batch-invariant sequence uses batch-invariant
        prefixes only. A prompt whose tokens are scored needs the logits of all of them.
        """
        if sequence.prompt.lacks_scores:
            return PrefixMatch()
        return self.slots.match(sequence.tokens[:-1], batch_invariant=sequence.prompt.batch_invariant)

    def _still_needs(self, sequence: Sequence, phase: Phase, computed: int) -> int:
        """Return the cells that a sequence takes for the rest of its text and a piece of its completion."""
        held = len(sequence.prompt.tokens) if phase is Phase.FORK else computed
        return min(sequence.length + self._policy.headroom, sequence.most_cells) - held

    # --- order in the cache ------------------------------------------------------------------------------

    def _leave(self, sequence: Sequence, tokens: list[int] | None, *, comes_back: bool = False) -> None:
        """Take back a slot; freeing its cells is deferred while batch-invariant sequences run."""
        defers_free = self._needs_batch_invariance
        self.slots.leave(sequence.slot, tokens, comes_back=comes_back, defers_free=defers_free)

    def _tidy(self) -> None:
        """Free the deferred cells when cells run short: who needs cells in order comes back to new ones."""
        if self.slots.n_deferred and self._lacks_cells():
            self._free_deferred()

    def _free_deferred(self) -> None:
        for sequence in [running for running in self._running if running.prompt.batch_invariant]:
            self._send_back(sequence)
        self.slots.free_deferred()
        self._reconsider()

    def _lacks_cells(self) -> bool:
        if self._full and self.slots.n_deferred >= self._policy.max_deferred * self.slots.n_cells:
            return True
        needed = sum(self._still_needs(seq, seq.phase, seq.computed) for seq in self._running)
        return needed > self.slots.free_cells

    # --- preemption --------------------------------------------------------------------------------------

    def _preempt_last(self, plan: Plan) -> None:
        """Send the sequence whose turn came last back to the queue."""
        sequence = max(self._running, key=lambda running: running.turn)
        self._send_back(sequence)
        plan.preempted.append(sequence)
        if self.slots.n_deferred:  # preempting has freed no cell
            self._free_deferred()

    def _send_back(self, sequence: Sequence) -> None:
        self._running.remove(sequence)
        self._leave(sequence, sequence.tokens[: sequence.computed], comes_back=True)
        sequence.preempt()
        self.n_preempted += 1
        self._waiting.put_back(sequence)
