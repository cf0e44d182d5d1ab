"""Who shares a prefix, waits for one, and leaves one behind: tables of events."""

from __future__ import annotations

import pytest

from engine.backend.invariance import NEVER, BatchInvariance
from engine.core.step_cost import StepCost
from engine.kvcache.operations import Copy, Restore, Save, Truncate
from tests.core.steps import Steps, prompt, spans


class TestPrefixes:
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
        steps = Steps(n_slots=2, n_cells=64, budget=16, cost=StepCost.uniform(2, 16))
        steps.submit(prompt(2, max_tokens=9))
        steps.step()
        steps.submit(prompt(7))
        assert spans(steps.step()) == [(0, 2, 1, 1), (1, 0, 4, 0)]

    @pytest.mark.parametrize("invariance", [NEVER, BatchInvariance(8)])
    def test_choices_that_repeat_share_their_prompt_in_waves(self, invariance: BatchInvariance) -> None:
        steps = Steps(n_slots=2, n_cells=64, budget=16, invariance=invariance)
        steps.submit(shared := prompt(6, n=3, max_tokens=5, batch_invariant=True))
        steps.step()
        steps.step(failing=frozenset({shared.sequences[1]}))
        steps.finish()
        assert steps.decoded[shared] == 6 + 1

    @pytest.mark.parametrize(("invariance", "cached"), [(NEVER, 0), (BatchInvariance(8), 4)])
    def test_who_repeats_takes_from_kept_texts_only_what_is_repeatable(
        self, invariance: BatchInvariance, cached: int
    ) -> None:
        steps = Steps(n_slots=2, n_cells=64, budget=16, invariance=invariance)
        for _ in range(2):
            steps.submit(again := prompt(5, text=1000, max_tokens=1, batch_invariant=True))
            steps.finish()
        assert again.n_cached == cached
