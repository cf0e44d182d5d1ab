"""Who runs when: a table of events, and any order of events against a cache that only counts cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.core.phases import Phase
from engine.core.plan import Plan
from engine.core.policy import SchedulingPolicy
from engine.core.scheduler import Scheduler
from engine.kvcache.operations import Copy, Restore, Save, Truncate
from engine.kvcache.slots import Slots
from tests.core.steps import END, TOKEN, Steps, drawers_of, prompt, spans

if TYPE_CHECKING:
    from collections.abc import Hashable

    from engine.core.sequence import Prompt, Sequence


class TestTable:
    def test_a_prompt_is_prefilled_then_decoded_one_token_a_step(self) -> None:
        steps = Steps(n_slots=2, n_cells=64, budget=8)
        steps.submit(prompt(3, max_tokens=3))
        assert [spans(steps.step()) for _ in range(4)] == [
            [(0, 0, 3, 1)],
            [(0, 3, 1, 1)],
            [(0, 4, 1, 1)],
            [],
        ]
        steps.finish()

    def test_a_long_prompt_is_cut_to_the_budget(self) -> None:
        steps = Steps(n_slots=2, n_cells=64, budget=4)
        steps.submit(prompt(10))
        assert [spans(steps.step()) for _ in range(3)] == [[(0, 0, 4, 0)], [(0, 4, 4, 0)], [(0, 8, 2, 1)]]

    def test_a_prompt_as_long_as_the_budget_draws_in_its_only_step(self) -> None:
        steps = Steps(n_slots=2, n_cells=64, budget=4)
        steps.submit(prompt(4))
        assert spans(steps.step()) == [(0, 0, 4, 1)]

    def test_a_long_prompt_does_not_stop_a_running_stream(self) -> None:
        steps = Steps(n_slots=2, n_cells=64, budget=4)
        steps.submit(prompt(2, max_tokens=9))
        steps.step()
        steps.submit(prompt(7))
        assert [spans(steps.step()) for _ in range(3)] == [
            [(0, 2, 1, 1), (1, 0, 3, 0)],
            [(0, 3, 1, 1), (1, 3, 3, 0)],
            [(0, 4, 1, 1), (1, 6, 1, 1)],
        ]

    def test_prompts_share_a_step_in_the_order_they_came(self) -> None:
        steps = Steps(n_slots=3, n_cells=64, budget=6)
        steps.submit(prompt(2), prompt(3), prompt(4))
        assert spans(steps.step()) == [(0, 0, 2, 1), (1, 0, 3, 1), (2, 0, 1, 0)]
        assert spans(steps.step()) == [(0, 2, 1, 1), (1, 3, 1, 1), (2, 1, 3, 1)]

    def test_a_short_prompt_does_not_wait_behind_a_long_one_nor_that_behind_short_ones(self) -> None:
        steps = Steps(n_slots=4, n_cells=64, budget=8)
        steps.submit(prompt(20), prompt(3), prompt(3), prompt(3))
        assert spans(steps.step()) == [(1, 0, 3, 1), (2, 0, 1, 0), (0, 0, 4, 0)]
        assert spans(steps.step())[1:] == [(2, 1, 2, 1), (3, 0, 1, 0), (0, 4, 4, 0)]

    def test_who_was_preempted_goes_before_short_prompts(self) -> None:
        steps = Steps(n_slots=3, n_cells=64, budget=8)
        steps.submit(prompt(21), again := prompt(20), prompt(3))
        again.sequences[0].n_preempted = 1
        assert spans(steps.step()) == [(1, 0, 4, 0), (0, 0, 4, 0)]

    def test_choices_at_once_are_prefilled_once_and_draw_from_one_row(self) -> None:
        steps = Steps(n_slots=4, n_cells=64, budget=4)
        steps.submit(shared := prompt(6, n=3))
        assert spans(steps.step()) == [(0, 0, 4, 0)]
        assert spans(steps.step()) == [(0, 4, 2, 3)]
        assert steps.cells.n_used == 6
        assert spans(steps.step()) == [(0, 6, 1, 1), (1, 6, 1, 1), (2, 6, 1, 1)]
        assert steps.cells.n_used == 9
        steps.finish()
        assert steps.decoded[shared] == 6

    @pytest.mark.parametrize(("n", "n_slots"), [(2, 1), (5, 1), (5, 2), (7, 3), (8, 4)])
    def test_choices_in_waves_cost_at_most_one_prompt_token_each(self, n: int, n_slots: int) -> None:
        steps = Steps(n_slots, n_cells=256, budget=8)
        steps.submit(shared := prompt(20, n=n))
        steps.finish()
        assert 20 <= steps.decoded[shared] <= 20 + n - n_slots

    def test_a_later_wave_beside_a_running_sibling_shares_its_prompt(self) -> None:
        steps = Steps(n_slots=2, n_cells=64, budget=16)
        steps.submit(shared := prompt(6, n=3, max_tokens=5))
        first, second, third = shared.sequences
        steps.step()
        steps.step(failing=frozenset({second}))
        assert spans(steps.step()) == [(0, 7, 1, 1), (1, 5, 1, 1)]
        assert steps.cells.of[0][:5] == steps.cells.of[1][:5]
        assert (first.phase, third.phase) == (Phase.DECODE, Phase.DECODE)
        steps.finish()

    def test_a_fork_draws_once_though_two_siblings_prefill(self) -> None:
        """Two of the second wave take slots that hold the prompt, a third one a slot of another request."""
        steps = Steps(n_slots=3, n_cells=64, budget=16)
        other, shared = prompt(3, max_tokens=1), prompt(4, n=5, max_tokens=1)
        steps.submit(other, shared)
        assert spans(steps.step()) == [(0, 0, 3, 1), (1, 0, 4, 2)]
        second = steps.step()
        drawers = [sequence.choice for sequence in drawers_of(second)]
        assert sorted(drawers) == [2, 3, 4]
        steps.finish()

    def test_what_is_kept_is_let_go_when_its_cells_are_needed(self) -> None:
        """Three siblings end at once and one waits: two slots hold cells that the next request needs."""
        steps = Steps(n_slots=4, n_cells=18, budget=32)
        steps.submit(prompt(3, n=4, max_tokens=5), prompt(9, max_tokens=1))
        steps.finish()

    def test_a_prompt_of_one_token_in_waves(self) -> None:
        steps = Steps(n_slots=1, n_cells=8, budget=4)
        steps.submit(shared := prompt(1, n=3, max_tokens=2))
        steps.finish()
        assert steps.decoded[shared] == 3

    def test_one_token_to_generate_ends_with_the_prefill(self) -> None:
        steps = Steps(n_slots=2, n_cells=64, budget=8)
        steps.submit(prompt(3, n=2, max_tokens=1))
        assert spans(steps.step()) == [(0, 0, 3, 2)]
        assert steps.scheduler.n_running == 0
        steps.finish()

    def test_the_cache_may_be_filled_to_the_last_cell(self) -> None:
        steps = Steps(n_slots=4, n_cells=17, budget=8)
        steps.submit(prompt(8, n=3, max_tokens=4))
        for _ in range(4):
            steps.step()
        assert steps.cells.n_used == 17
        steps.finish()
        assert steps.preempted == []

    def test_who_finds_no_room_waits_and_nobody_overtakes(self) -> None:
        steps = Steps(n_slots=4, n_cells=20, budget=8)
        small, large, late = prompt(4, max_tokens=4), prompt(12, max_tokens=4), prompt(1, max_tokens=1)
        steps.submit(small, large, late)
        for _ in range(4):
            steps.step()
            assert steps.admitted == small.sequences
        steps.step()
        assert steps.admitted == [*small.sequences, *large.sequences, *late.sequences]
        steps.finish()

    def test_a_slot_is_free_in_the_step_after_its_sequence_ends(self) -> None:
        steps = Steps(n_slots=1, n_cells=64, budget=8)
        first, second = prompt(3, max_tokens=9), prompt(2)
        steps.submit(first, second)
        steps.step()
        steps.step(END)
        assert spans(steps.step()) == [(0, 0, 2, 1)]
        assert steps.admitted == [*first.sequences, *second.sequences]

    @pytest.mark.parametrize(
        "n_steps", [0, 1, 2, 3, 4], ids=["waiting", "prefill", "prefill 2", "decode", "decode 2"]
    )
    @pytest.mark.parametrize("n", [1, 2, 4])
    def test_a_cancelled_request_is_gone_in_the_next_plan(self, n_steps: int, n: int) -> None:
        steps = Steps(n_slots=2, n_cells=64, budget=4)
        steps.submit(gone := prompt(9, n=n, max_tokens=8))
        for _ in range(n_steps):
            steps.step()
        steps.cancel(gone.owner)
        steps.submit(prompt(2))
        plan = steps.step()
        assert [spanned[1:] for spanned in spans(plan)] == [(0, 2, 1)]
        assert steps.scheduler.free_cells == 64 - 2
        steps.finish()

    def test_cancelling_a_request_of_several_prompts_spares_the_others(self) -> None:
        steps = Steps(n_slots=3, n_cells=64, budget=16)
        owner = object()
        other = prompt(2, max_tokens=6)
        steps.submit(prompt(3, n=2, owner=owner), other, prompt(4, owner=owner))
        steps.step()
        steps.cancel(owner)
        assert spans(steps.step()) == [(2, 2, 1, 1)]
        assert steps.scheduler.free_cells == 64 - 3
        steps.finish()
        assert other.sequences[0].generated == [TOKEN] * 6

    def test_cancelling_somebody_unknown_does_nothing(self) -> None:
        steps = Steps(n_slots=1, n_cells=64, budget=16)
        steps.submit(known := prompt(3))
        steps.cancel("nobody")
        steps.finish()
        assert len(known.sequences[0].generated) == 4

    def test_an_empty_scheduler_has_no_work_and_plans_nothing(self) -> None:
        scheduler = Scheduler(Slots(2, 16), 4)
        assert not scheduler.has_work
        assert scheduler.plan() == Plan()

    def test_a_prompt_starts_from_the_longest_text_in_the_cache(self) -> None:
        steps = Steps(n_slots=4, n_cells=64, budget=16)
        steps.submit(prompt(4, text=1000, max_tokens=9), prompt(6, text=1000, max_tokens=1))
        steps.step()  # they do not share: each is too short to be waited for
        steps.submit(longer := prompt(9, text=1000))
        plan = steps.step()
        assert plan.cache == [Save(1, 6, 0), Truncate(1, 0), Restore(0, 2, 6)]
        assert spans(plan) == [(0, 4, 1, 1), (2, 6, 3, 1)]
        assert longer.n_cached == 6

    def test_the_last_token_of_a_prompt_is_decoded_though_all_of_it_is_cached(self) -> None:
        steps = Steps(n_slots=2, n_cells=64, budget=16)
        for n_cached in (0, 4):
            steps.submit(again := prompt(5, text=1000, max_tokens=1))
            steps.finish()
            assert (again.n_cached, steps.decoded[again]) == (n_cached, 5 - n_cached)

    def test_who_begins_like_a_prompt_in_prefill_waits_for_it_and_others_pass(self) -> None:
        steps = Steps(n_slots=4, n_cells=1000, budget=20)
        steps.submit(
            leader := prompt(50, text=1000), alike := prompt(60, text=1000), other := prompt(3, max_tokens=1)
        )
        assert spans(steps.step()) == [(1, 0, 3, 1), (0, 0, 17, 0)]
        assert steps.admitted == [*leader.sequences, *other.sequences]
        steps.step()
        steps.finish()
        assert (alike.n_cached, steps.decoded[alike]) == (50, 10)

    def test_nobody_waits_for_a_few_tokens(self) -> None:
        steps = Steps(n_slots=4, n_cells=1000, budget=20)
        steps.submit(prompt(60, text=1000))
        steps.step()
        steps.step()
        steps.submit(alike := prompt(50, text=1000))
        steps.step()
        assert (steps.admitted[-1], alike.n_cached) == (alike.sequences[0], 40)

    def test_who_waits_for_a_prefix_goes_ahead_when_its_leader_has_gone(self) -> None:
        steps = Steps(n_slots=4, n_cells=1000, budget=20)
        leader, alike = prompt(50, text=1000), prompt(60, text=1000)
        steps.submit(leader, alike)
        steps.step()
        steps.cancel(leader.owner)
        steps.finish()
        assert (alike.n_cached, steps.decoded[alike]) == (20, 40)

    def test_more_texts_are_kept_than_run(self) -> None:
        steps = Steps(n_slots=1, n_cells=1000, budget=20)
        for text in (1000, 2000, 3000):
            steps.submit(prompt(5, text=text, max_tokens=1))
        steps.step()
        assert len(steps.admitted) == 1
        steps.finish()
        for text in (1000, 2000, 3000):
            steps.submit(again := prompt(5, text=text, max_tokens=1))
            steps.finish()
            assert again.n_cached == 4

    def test_what_was_used_least_recently_is_forgotten_first(self) -> None:
        steps = Steps(n_slots=2, n_cells=10, budget=20)
        for text in (1000, 2000, 1000, 3000, 1000):
            steps.submit(last := prompt(5, text=text, max_tokens=1))
            steps.finish()
        assert (last.n_cached, steps.slots.n_saved) == (4, 2)

    def test_a_text_that_was_of_use_just_now_is_not_forgotten_first(self) -> None:
        steps = Steps(n_slots=3, n_cells=14, budget=20)
        for length, text in ((9, 1000), (5, 2000), (5, 1000), (5, 3000), (9, 1000)):
            steps.submit(last := prompt(length, text=text, max_tokens=1))
            steps.finish()
        assert last.n_cached == 8

    def test_a_running_text_is_shared_rather_than_a_kept_one_restored(self) -> None:
        steps = Steps(n_slots=3, n_cells=100, budget=20)
        steps.submit(prompt(5, text=1000, max_tokens=1))
        steps.finish()
        steps.submit(prompt(5, text=1000))
        steps.step()
        steps.submit(prompt(5, text=1000))
        assert steps.step().cache == [Copy(1, 2, 4)]

    def test_a_kept_text_needs_room_to_be_restored_in(self) -> None:
        for slack, cached in ((0, 8), (92, 8), (93, 0)):
            steps = Steps(n_slots=3, n_cells=100, budget=20, slack=slack)
            for _ in range(2):
                steps.submit(again := prompt(9, text=1000, max_tokens=1))
                steps.finish()
            assert again.n_cached == cached

    def test_who_waited_for_a_prefix_keeps_its_turn(self) -> None:
        steps = Steps(n_slots=4, n_cells=1000, budget=20)
        prompts = [prompt(length, text=1000) for length in (50, 60, 61)]
        steps.submit(*prompts)
        steps.finish()
        assert steps.admitted == [sequence for each in prompts for sequence in each.sequences]

    def test_who_waits_for_a_prefix_does_not_wait_for_somebody_without_room(self) -> None:
        steps = Steps(n_slots=4, n_cells=150, budget=20)
        leader, alike = prompt(50, text=1000, max_tokens=20), prompt(60, text=1000)
        steps.submit(leader, alike, large := prompt(100, max_tokens=20))
        for _ in range(4):
            steps.step()
        assert steps.admitted == [*leader.sequences, *alike.sequences]
        steps.finish()
        assert steps.admitted[-1] is large.sequences[0]

    def test_nothing_is_kept_where_the_cache_cannot_be_cut(self) -> None:
        steps = Steps(n_slots=2, n_cells=1000, budget=20, prefix_cache=False)
        for _ in range(2):
            steps.submit(again := prompt(5, n=3, text=1000))
            steps.finish()
            assert again.n_cached == 0
        assert steps.cells.n_used == 0

    def test_nothing_is_shared_with_who_runs_where_the_cache_cannot_be_cut(self) -> None:
        steps = Steps(n_slots=2, n_cells=1000, budget=20, prefix_cache=False)
        steps.submit(prompt(9, text=1000))
        steps.step()
        steps.submit(alike := prompt(5, text=1000))
        steps.finish()
        assert (alike.n_cached, steps.decoded[alike]) == (0, 5)

    def test_a_step_in_which_others_decode_takes_few_prompt_tokens(self) -> None:
        steps = Steps(n_slots=2, n_cells=64, budget=16)
        steps.submit(prompt(2, max_tokens=9))
        steps.step()
        steps.beside = 3
        steps.submit(prompt(7))
        assert spans(steps.step()) == [(0, 2, 1, 1), (1, 0, 3, 0)]

    @pytest.mark.parametrize("batch_invariant", [0, 8])
    def test_choices_that_repeat_share_their_prompt_in_waves(self, batch_invariant: int) -> None:
        steps = Steps(n_slots=2, n_cells=64, budget=16, batch_invariant=batch_invariant)
        steps.submit(shared := prompt(6, n=3, max_tokens=5, batch_invariant=True))
        steps.step()
        steps.step(failing=frozenset({shared.sequences[1]}))
        steps.finish()
        assert steps.decoded[shared] == 6 + 1

    @pytest.mark.parametrize(("batch_invariant", "cached"), [(0, 0), (8, 4)])
    def test_who_repeats_takes_from_kept_texts_only_what_is_repeatable(
        self, batch_invariant: int, cached: int
    ) -> None:
        steps = Steps(n_slots=2, n_cells=64, budget=16, batch_invariant=batch_invariant)
        for _ in range(2):
            steps.submit(again := prompt(5, text=1000, max_tokens=1, batch_invariant=True))
            steps.finish()
        assert again.n_cached == cached

    def test_a_step_may_leave_prompts_out(self) -> None:
        steps = Steps(n_slots=2, n_cells=64, budget=16)
        steps.submit(prompt(2, max_tokens=9))
        steps.step()
        steps.beside = 0
        steps.submit(prompt(7))
        assert spans(steps.step()) == [(0, 2, 1, 1)]

    def test_a_budget_below_the_slots_is_refused(self) -> None:
        with pytest.raises(ValueError, match="all 5 slots, not 4 tokens"):
            Scheduler(Slots(5, 16), 4)

    def test_unfinished_sequences_are_told_running_first(self) -> None:
        steps = Steps(n_slots=1, n_cells=64, budget=16)
        steps.submit(shared := prompt(3, n=2))
        steps.step()
        assert steps.scheduler.unfinished() == shared.sequences
        assert (steps.scheduler.n_running, steps.scheduler.n_waiting) == (1, 1)


class AnyOrder(RuleBasedStateMachine):
    """Requests come, end, fail and are cancelled between any two steps; :class:`Steps` checks every plan."""

    @initialize(
        n_slots=st.integers(1, 4),
        spare=st.integers(0, 6),
        n_cells=st.integers(8, 40) | st.integers(41, 400),
        worth_waiting=st.sampled_from([1, 2, 4, 40]),
        ahead=st.sampled_from([0, 1, 2, 64]),
        worth_keeping=st.sampled_from([1, 3, 32]),
        slack=st.sampled_from([0, 2, 5]),
        batch_invariant=st.sampled_from([0, 1, 3, 9]),
    )
    def begin(
        self,
        n_slots: int,
        spare: int,
        n_cells: int,
        worth_waiting: int,
        ahead: int,
        worth_keeping: int,
        slack: int,
        batch_invariant: int,
    ) -> None:
        policy = SchedulingPolicy(
            headroom=ahead, min_shared_prefix=worth_waiting, min_new_tokens=worth_keeping, max_cost=1000
        )
        self.nobody_waits_for_a_prefix = worth_waiting == 40
        self.all_is_kept = (worth_keeping, slack) == (1, 0)
        self.steps = Steps(
            n_slots,
            n_cells,
            n_slots + spare,
            slack=slack,
            batch_invariant=batch_invariant,
            policy=policy,
        )
        self.submitted: list[Sequence] = []
        self.prompts: list[Prompt] = []
        self.cancelled: set[Hashable] = set()
        self.failed: set[Sequence] = set()

    @rule(
        sizes=st.lists(st.tuples(st.integers(1, 12), st.integers(1, 5)), min_size=1, max_size=2),
        max_tokens=st.integers(1, 6),
        text=st.sampled_from([1000, 2000, None]),
        batch_invariant=st.booleans(),
    )
    def submit(
        self, sizes: list[tuple[int, int]], max_tokens: int, text: int | None, *, batch_invariant: bool
    ) -> None:
        owner = object()
        for length, n in sizes:
            fitting = min(length, self.steps.n_cells - max_tokens)
            made = prompt(
                fitting, n, max_tokens=max_tokens, owner=owner, text=text, batch_invariant=batch_invariant
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
        if self.nobody_waits_for_a_prefix:
            assert admitted == [s for s in self.submitted if s in set(admitted)]

    @property
    def all_fit(self) -> bool:
        return sum(each.sequences[0].most_cells * len(each.sequences) for each in self.prompts) <= (
            self.steps.n_cells
        )

    @invariant()
    def nobody_is_preempted_without_need(self) -> None:
        assert not (self.all_fit and self.steps.preempted)

    @invariant()
    def a_prompt_costs_at_most_one_more_token_a_choice(self) -> None:
        for each in self.prompts:
            begun = sum(sequence in self.steps.admitted for sequence in each.sequences)
            if self.all_fit and self.all_is_kept and self.nobody_waits_for_a_prefix:
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
