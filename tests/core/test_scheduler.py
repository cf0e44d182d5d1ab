"""Who runs when: tables of events."""

from __future__ import annotations

import pytest

from engine.core.phases import Phase
from engine.core.plan import Plan
from engine.core.scheduler import Scheduler
from engine.core.step_cost import StepCost
from engine.kvcache.host_cache import HostPrefixCache
from engine.kvcache.slots import Slots
from tests.core.steps import END, TOKEN, Steps, drawers_of, prompt, spans


def slots_of(n_slots: int) -> Slots:
    return Slots(n_slots, 16, HostPrefixCache(16, min_new_tokens=1, max_cost=1))


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
        scheduler = Scheduler(slots_of(2), 4)
        assert not scheduler.has_work
        assert scheduler.plan() == Plan()

    def test_a_step_is_padded_where_that_is_cheaper_and_no_prompt_waits(self) -> None:
        cost = StepCost({1: 2.0, 2: 1.0}, {1: 1.0}, max_decodes=3, max_tokens=16)
        steps = Steps(n_slots=2, n_cells=64, budget=16, cost=cost)
        steps.submit(prompt(2, max_tokens=9))
        assert [steps.step().padding.rows for _ in range(3)] == [0, 1, 1]
        steps.submit(prompt(9))
        assert [steps.step().padding.rows for _ in range(4)] == [0, 0, 0, 0]

    def test_a_budget_below_the_slots_is_refused(self) -> None:
        with pytest.raises(ValueError, match="all 5 slots, not 4 tokens"):
            Scheduler(slots_of(5), 4)

    def test_unfinished_sequences_are_told_running_first(self) -> None:
        steps = Steps(n_slots=1, n_cells=64, budget=16)
        steps.submit(shared := prompt(3, n=2))
        steps.step()
        assert steps.scheduler.unfinished() == shared.sequences
        assert (steps.scheduler.n_running, steps.scheduler.n_waiting) == (1, 1)
