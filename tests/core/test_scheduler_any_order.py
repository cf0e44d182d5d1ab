"""Requests come, end, fail and are cancelled between any two steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.backend.invariance import NEVER, BatchInvariance
from engine.core.phases import Phase
from engine.core.policy import SchedulingPolicy
from engine.core.step_cost import StepCost
from tests.core.steps import END, TOKEN, Steps, prompt

if TYPE_CHECKING:
    from collections.abc import Hashable

    from engine.core.sequence import Prompt, Sequence


def padded_by(padding: int, n_slots: int) -> StepCost:
    """Return costs by which a step is the cheaper the wider it is, as far as it may be."""
    widths = range(1, n_slots + padding + 17)
    return StepCost(
        {width: 1 / width for width in widths}, {1: 0.01}, max_decodes=len(widths), max_tokens=512
    )


class AnyOrder(RuleBasedStateMachine):
    """Requests come, end, fail and are cancelled between any two steps; :class:`Steps` checks every plan."""

    @initialize(
        n_slots=st.integers(1, 4),
        spare=st.integers(0, 6),
        n_cells=st.integers(8, 40) | st.integers(41, 400),
        worth_waiting=st.sampled_from([1, 2, 4, 40]),
        ahead=st.sampled_from([0, 1, 2, 64]),
        worth_keeping=st.sampled_from([1, 3, 32]),
        invariance=st.sampled_from(
            [
                NEVER,
                *map(BatchInvariance, (1, 3, 9)),
                BatchInvariance(9, least=2),
                BatchInvariance(30, least=8, unit=4),
            ]
        ),
        padding=st.sampled_from([0, 1, 3]),
        drafted=st.sampled_from([0, 2, 16]),
        n_clients=st.sampled_from([1, 1, 3]),
    )
    def begin(
        self,
        n_slots: int,
        spare: int,
        n_cells: int,
        worth_waiting: int,
        ahead: int,
        worth_keeping: int,
        invariance: BatchInvariance,
        padding: int,
        drafted: int,
        n_clients: int,
    ) -> None:
        policy = SchedulingPolicy(
            headroom=ahead, min_shared_prefix=worth_waiting, min_new_tokens=worth_keeping, max_cost=1000
        )
        self.n_clients = n_clients
        self.nobody_waits_for_a_prefix = worth_waiting == 40
        self.all_is_kept = worth_keeping == 1
        self.steps = Steps(
            n_slots,
            n_cells,
            n_slots + spare,
            invariance=invariance,
            drafted=drafted,
            cost=padded_by(padding, n_slots) if padding else None,
            policy=policy,
        )
        self.submitted: list[Sequence] = []
        self.prompts: list[Prompt] = []
        self.cancelled: set[Hashable] = set()
        self.failed: set[Sequence] = set()

    @rule(
        sizes=st.lists(st.tuples(st.integers(1, 12), st.integers(1, 5)), min_size=1, max_size=2),
        max_tokens=st.integers(1, 6) | st.integers(7, 20),
        text=st.sampled_from([1000, 2000, None]),
        client=st.integers(0, 2),
        batch_invariant=st.booleans(),
    )
    def submit(
        self,
        sizes: list[tuple[int, int]],
        max_tokens: int,
        text: int | None,
        client: int,
        *,
        batch_invariant: bool,
    ) -> None:
        owner, max_tokens = object(), min(max_tokens, self.steps.n_cells - 2)
        for length, n in sizes:
            fitting = min(length, self.steps.n_cells - max_tokens)
            made = prompt(
                fitting,
                n,
                max_tokens=max_tokens,
                owner=owner,
                text=text,
                batch_invariant=batch_invariant,
                client=client % self.n_clients,
            )
            self.steps.submit(made)
            self.prompts.append(made)
            self.submitted += made.sequences

    @rule(token=st.sampled_from([TOKEN, TOKEN, TOKEN, END]))
    def step(self, token: int) -> None:
        self.steps.step(token)

    @precondition(lambda self: self.steps.running)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        """A row without a token ends one sequence, and its siblings go on."""
        unlucky = data.draw(st.sampled_from(self.steps.running), label="unlucky")
        self.steps.step(failing=frozenset({unlucky}))
        self.failed.add(unlucky)

    @precondition(lambda self: any(sequence.phase is Phase.DECODE for sequence in self.steps.running))
    @rule(data=st.data())
    def end_late(self, data: st.DataObject) -> None:
        """A text turns out to have ended while the next step runs, in which it may be preempted."""
        drawn = [sequence for sequence in self.steps.running if sequence.phase is Phase.DECODE]
        over = data.draw(st.sampled_from(drawn), label="over")
        self.steps.step(ending=frozenset({over}))
        self.failed.add(over)
        assert over not in self.steps.scheduler.unfinished()

    @precondition(lambda self: self.prompts)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """Cancel anybody: waiting, in prefill, a fork, in decode, or gone; the next plan has no trace."""
        owner = data.draw(st.sampled_from(self.prompts), label="prompt").owner
        self.steps.cancel(owner)
        self.cancelled.add(owner)
        self.steps.step()
        assert all(sequence.prompt.owner is not owner for sequence in self.steps.scheduler.unfinished())

    @invariant()
    def first_come_first_served(self) -> None:
        admitted = list(dict.fromkeys(self.steps.admitted))
        if self.nobody_waits_for_a_prefix and self.n_clients == 1:
            assert admitted == [s for s in self.submitted if s in set(admitted)]

    @property
    def all_fit(self) -> bool:
        return sum(each.sequences[0].most_cells * len(each.sequences) for each in self.prompts) <= (
            self.steps.n_cells
        )

    @invariant()
    def nobody_is_preempted_without_need(self) -> None:
        if self.n_clients == 1:
            assert not (self.all_fit and self.steps.preempted)

    @invariant()
    def a_prompt_costs_at_most_one_more_token_a_choice(self) -> None:
        for each in self.prompts:
            begun = sum(sequence in self.steps.admitted for sequence in each.sequences)
            undisturbed = self.all_is_kept and self.nobody_waits_for_a_prefix and self.n_clients == 1
            if self.all_fit and undisturbed:
                assert self.steps.decoded[each] <= len(each.tokens) + max(0, begun - 1)

    def teardown(self) -> None:
        if not hasattr(self, "steps"):
            return
        self.steps.finish()
        for sequence in self.submitted:
            if sequence.prompt.owner not in self.cancelled:
                assert sequence.phase is Phase.FINISHED
                if sequence not in self.failed:
                    assert len(sequence.generated) == sequence.max_tokens or sequence.generated[-1] == END


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
