"""A scheduler's step loop without a model: a cache that only counts cells, and checks on every plan."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

from engine.backend.invariance import NEVER
from engine.core.phases import Phase
from engine.core.policy import SchedulingPolicy
from engine.core.scheduler import Scheduler
from engine.core.sequence import Prompt, Sequence, StopRules
from engine.kvcache.host_cache import HostPrefixCache
from engine.kvcache.operations import Copy, DeferFree, Drop, FreeDeferred, Restore, Save, Truncate
from engine.kvcache.slots import Slots
from engine.sampling import SamplingParams

if TYPE_CHECKING:
    from collections.abc import Hashable

    from engine.backend.invariance import BatchInvariance
    from engine.core.plan import Plan, Span
    from engine.core.step_cost import StepCost
    from engine.kvcache.operations import Operation

TOKEN = 5
END = 0
PADDING = -1
"""The slot of tokens that are decoded for nobody."""

TEXTS = itertools.count(1_000_000, 1_000_000)


def prompt(
    length: int,
    n: int = 1,
    *,
    max_tokens: int = 4,
    owner: Hashable | None = None,
    text: int | None = None,
    batch_invariant: bool = False,
    client: Hashable = None,
) -> Prompt:
    """Make a prompt of one request with ``n`` choices; prompts of the same ``text`` begin alike."""
    first = next(TEXTS) if text is None else text
    tokens = list(range(first, first + length))
    made = Prompt(
        object() if owner is None else owner,
        tokens,
        length,
        batch_invariant=batch_invariant,
        client=client,
    )
    params, stop = SamplingParams(seed=1), StopRules(frozenset({END}))
    made.sequences.extend(Sequence(made, i, params, max_tokens=max_tokens, stop=stop) for i in range(n))
    return made


class Held(NamedTuple):
    """What a slot holds at one position."""

    cell: int
    token: int
    is_batch_invariant: bool
    """Whether it was computed in a step in which somebody repeats."""


class Cells:
    """A KV cache in which a cell has a number: slots that share a position share its cell.

    As in llama.cpp, the first free cells are taken.
    """

    def __init__(self) -> None:
        self.of: defaultdict[int, list[Held]] = defaultdict(list)
        """Slot -> what it holds, by position."""
        self.saved: dict[int, list[Held]] = {}
        """Number -> a text that was copied out."""
        self.shelf: set[int] = set()

    @property
    def used(self) -> set[int]:
        return self.shelf | {held.cell for row in self.of.values() for held in row}

    @property
    def n_used(self) -> int:
        return len(self.used)

    def tokens(self, slot: int) -> list[int]:
        return [held.token for held in self.of[slot]]

    def defer_free(self, slot: int) -> None:
        self.shelf |= {held.cell for held in self.of[slot]}  # those that others share, too
        self.of[slot].clear()

    def copy(self, source: int, target: int, length: int) -> None:
        assert source != target
        assert not self.of[target], "a copy into a slot that is in use would mix two texts"
        assert length <= len(self.of[source]), "a copy of positions that are not there"
        self.of[target] = self.of[source][:length]

    def save(self, slot: int, length: int, text: int) -> None:
        assert text not in self.saved
        self.saved[text] = self.of[slot][:length]
        assert len(self.saved[text]) == length

    def restore(self, text: int, slot: int, length: int) -> None:
        assert not self.of[slot], "a text put into a slot that is in use"
        for held in self.saved[text][:length]:
            self._put(slot, held.token, is_batch_invariant=held.is_batch_invariant)
        assert len(self.of[slot]) == length

    def truncate(self, slot: int, length: int) -> None:
        assert length <= len(self.of[slot])
        del self.of[slot][length:]

    def append(self, slot: int, start: int, tokens: list[int], *, is_batch_invariant: bool) -> None:
        assert start == len(self.of[slot]), "a span begins where its slot ends: no gap, no overlap"
        for token in tokens:
            self._put(slot, token, is_batch_invariant=is_batch_invariant)

    def _put(self, slot: int, token: int, *, is_batch_invariant: bool) -> None:
        used = self.used
        cell = next(cell for cell in itertools.count() if cell not in used)
        self.of[slot].append(Held(cell, token, is_batch_invariant))


SAVES_ALL = SchedulingPolicy(min_new_tokens=1, max_cost=1000)
"""Prompts of tests are short: save them all."""


class Steps:
    """The step loop without a model: carries out plans and draws the tokens it is told to."""

    def __init__(
        self,
        n_slots: int,
        n_cells: int,
        budget: int,
        *,
        prefix_cache: bool = True,
        invariance: BatchInvariance = NEVER,
        drafted: int = 0,
        cost: StepCost | None = None,
        policy: SchedulingPolicy = SAVES_ALL,
    ) -> None:
        self.slots = Slots(
            n_slots,
            n_cells,
            HostPrefixCache(n_cells, min_new_tokens=policy.min_new_tokens, max_cost=policy.max_cost),
            prefix_cache=prefix_cache,
            keeps_batch_invariant=invariance.widest > 0,
        )
        self.invariance = invariance
        self.scheduler = Scheduler(
            self.slots,
            budget,
            cost=cost,
            drafted=drafted,
            batch_invariance=invariance,
            policy=policy,
        )
        self.cells = Cells()
        self.n_slots, self.n_cells, self.budget = n_slots, n_cells, budget
        self.running: list[Sequence] = []
        self.admitted: list[Sequence] = []
        self.preempted: list[Sequence] = []
        self.operations: list[Operation] = []
        self.decoded: Counter[Prompt] = Counter()
        """Prompt tokens decoded for each prompt, over all its choices."""
        self.n_accepted = 0

    def submit(self, *prompts: Prompt) -> None:
        for each in prompts:
            self.scheduler.submit(each)

    def cancel(self, owner: Hashable) -> None:
        self.scheduler.cancel(owner)
        self.running = [sequence for sequence in self.running if sequence.prompt.owner is not owner]

    def step(
        self,
        token: int = TOKEN,
        *,
        failing: frozenset[Sequence] = frozenset(),
        ending: frozenset[Sequence] = frozenset(),
    ) -> Plan:
        """Do what the step loop does, and check the plan while doing it.

        Args:
            token: What everybody draws.
            failing: Who gets no token.
            ending: Whose text turns out to have ended while the step runs.
        """
        decoding = [sequence for sequence in self.running if sequence.phase is Phase.DECODE]
        plan = self.scheduler.plan()
        self.operations += plan.cache
        for operation in plan.cache:
            self._carry_out(operation)
        stayed = [seq for seq in self.running if seq.slot >= 0 and seq not in plan.admitted]
        self.running = [*stayed, *plan.admitted]
        self.admitted += plan.admitted
        self.preempted += plan.preempted
        for lost in plan.preempted:
            who = lost.prompt.client
            others = [other for other in stayed if other.prompt.client == who]
            assert all(other.turn < lost.turn for other in others), "of a client, the last turn goes first"
            assert self.running or self.invariance.widest, "somebody always gets to the end"
        self._check(plan, [sequence for sequence in decoding if sequence.phase is Phase.DECODE])
        for sequence in plan.decodes:
            assert sequence.phase is Phase.DECODE
            last, start = sequence.generated[-1:], sequence.computed
            self.cells.append(sequence.slot, start, last, is_batch_invariant=plan.batch_invariant)
        for sequence, draft in plan.drafts:
            start = sequence.computed + 1
            self.cells.append(sequence.slot, start, draft, is_batch_invariant=plan.batch_invariant)
        for span in plan.prompts:
            self._decode(span, is_batch_invariant=plan.batch_invariant)
        assert self.cells.n_used <= self.n_cells, "a decode that finds no cell"
        self.cells.append(PADDING, 0, [TOKEN] * plan.padding.tokens, is_batch_invariant=plan.batch_invariant)
        self._check_who_repeats(plan)
        self.cells.truncate(PADDING, 0)
        self.scheduler.computed(plan)
        assert self.cells.n_used == self.slots.used_cells + plan.n_drafted
        guessed = {sequence.slot: len(draft) for sequence, draft in plan.drafts}
        for slot in range(self.n_slots):
            assert len(self.cells.of[slot]) == self.slots.length(slot) + guessed.get(slot, 0)
        for sequence in ending:
            sequence.move_to(Phase.FINISHED)
            self.scheduler.retire(sequence)
        self.running = [sequence for sequence in self.running if sequence not in ending]
        for sequence in [each for each in drawers_of(plan) if each not in ending]:
            self._draw(sequence, token, fails=sequence in failing)
        for sequence, draft in plan.drafts:
            for guess in draft:
                if sequence.phase is not Phase.DECODE or sequence.generated[-1] != guess:
                    break
                self.scheduler.accept(sequence)
                self.n_accepted += 1
                self._draw(sequence, token, fails=False)
        return plan

    def _carry_out(self, operation: Operation) -> None:
        match operation:
            case Copy(source, target, length):
                self.cells.copy(source, target, length)
            case Truncate(slot, length):
                self.cells.truncate(slot, length)
            case DeferFree(slot):
                self.cells.defer_free(slot)
            case FreeDeferred():
                self.cells.shelf.clear()
            case Save(slot, length, text):
                self.cells.save(slot, length, text)
            case Restore(text, slot, length):
                self.cells.restore(text, slot, length)
                assert self.cells.n_used <= self.n_cells, "no room to restore in"
            case Drop(text):
                del self.cells.saved[text]

    def finish(self) -> None:
        """Step until nothing is left to do; the number of steps has a bound."""
        waiting = self.scheduler.unfinished()
        # One after the other at the worst, each preempted by every one before it.
        bound = (len(waiting) + 1) * (sum(len(s.prompt.tokens) + s.max_tokens + 2 for s in waiting) + 2)
        for _ in range(bound):
            if not self.scheduler.has_work:
                break
            self.step()
        assert not self.scheduler.has_work
        assert self.scheduler.free_cells == self.n_cells
        assert (self.cells.n_used, len(self.cells.saved)) == (0, self.slots.n_saved)
        assert sum(map(len, self.cells.saved.values())) <= self.n_cells, "no more than the cache holds"
        assert (self.scheduler.n_running, self.scheduler.n_waiting, self.running) == (0, 0, [])

    def _check(self, plan: Plan, decoding: list[Sequence]) -> None:
        slots = [sequence.slot for sequence in self.running]
        assert len(set(slots)) == len(slots), "a slot belongs to one sequence"
        assert set(slots) <= set(range(self.n_slots))
        assert plan.decodes == decoding, "every running decode"
        spanned = [*plan.decodes, *(span.sequence for span in plan.prompts)]
        assert len(set(map(id, spanned))) == len(spanned), "one part for a sequence"
        assert plan.n_tokens <= self.budget
        if not plan.batch_invariant:
            assert plan.n_tokens + plan.padding.tokens <= self.budget
            assert not (plan.padding.tokens and plan.prompts), (
                "a row that nobody reads, though a prompt waits"
            )
        drawers = drawers_of(plan)
        assert len(set(map(id, drawers))) == len(drawers)
        assert set(decoding) <= set(drawers), "each of them gets its token"

    def _check_who_repeats(self, plan: Plan) -> None:
        """Check that the logits of whoever repeats depend on its text alone."""
        who = [sequence for sequence in self.running if sequence.prompt.batch_invariant]
        assert plan.batch_invariant == bool(who and self.invariance.widest)
        if not plan.batch_invariant:
            return
        tokens, rows = plan.n_tokens + plan.padding.tokens, plan.n_rows + plan.padding.rows
        if len(plan.decodes) < self.invariance.max_tokens:
            assert tokens <= self.invariance.widest
            assert [self.invariance.rows(count) for count in (tokens, rows)] == [tokens, rows]
            assert plan.padding.rows <= plan.padding.tokens
            assert tokens != 1 or self.slots.reach <= 256
        for sequence in who:
            row = self.cells.of[sequence.slot]
            assert [held.cell for held in row] == sorted(held.cell for held in row), "cells out of order"
            assert all(held.is_batch_invariant for held in row), "a part that was computed in another way"
        assert max(self.cells.used, default=-1) < max(self.slots.reach, self.slots.used_cells + tokens)

    def _decode(self, span: Span, *, is_batch_invariant: bool) -> None:
        sequence = span.sequence
        assert sequence.phase is Phase.PREFILL
        self.decoded[sequence.prompt] += len(span.tokens)
        self.cells.append(sequence.slot, span.start, span.tokens, is_batch_invariant=is_batch_invariant)
        for fork in span.draws[1:]:
            assert fork.phase is Phase.FORK
            assert fork.prompt is sequence.prompt
            self.cells.copy(sequence.slot, fork.slot, span.end)

    def _draw(self, sequence: Sequence, token: int, *, fails: bool) -> None:
        assert sequence.phase is Phase.DECODE
        text = [*sequence.prompt.tokens, *sequence.generated]
        held = self.cells.tokens(sequence.slot)[: len(text)]
        assert held == text, "the logits of another text"
        if fails:
            sequence.move_to(Phase.FINISHED)
        else:
            sequence.take(token)
        if has_finished(sequence):
            self.scheduler.retire(sequence)
            self.running.remove(sequence)


def has_finished(sequence: Sequence) -> bool:
    return sequence.phase is Phase.FINISHED


def drawers_of(plan: Plan) -> list[Sequence]:
    """Return everybody who draws in a step."""
    return [*plan.decodes, *(sequence for _, sequence in plan.first_draws())]


def spans(plan: Plan) -> list[tuple[int, int, int, int]]:
    """Write what was decoded as (slot, start, number of tokens, number of draws)."""
    return [
        *((sequence.slot, sequence.computed - 1, 1, 1) for sequence in plan.decodes),
        *((s.sequence.slot, s.start, len(s.tokens), len(s.draws)) for s in plan.prompts),
    ]
