"""What happens when completions outgrow the cache."""

from __future__ import annotations

from functools import partial

from engine.core.phases import Phase
from engine.core.policy import SchedulingPolicy
from tests.core import steps as steps_module
from tests.core.steps import END, prompt, spans

Steps = partial(
    steps_module.Steps, policy=SchedulingPolicy(headroom=1, min_new_tokens=1)
)  # whoever has room for one token is admitted, so that the cache runs out soon


def test_more_run_than_could_all_end_in_the_cache() -> None:
    steps = Steps(n_slots=4, n_cells=40, budget=32)
    steps.submit(prompt(6, max_tokens=30), prompt(6, max_tokens=2))
    steps.step()
    assert steps.scheduler.n_running == 2
    steps.finish()
    assert steps.preempted == []


def test_the_sequence_whose_turn_came_last_is_preempted_and_goes_on_later() -> None:
    steps = Steps(n_slots=4, n_cells=20, budget=32)
    first, second, third = (prompt(4, max_tokens=8) for _ in range(3))
    steps.submit(first, second, third)
    steps.finish()
    assert steps.preempted[0] is third.sequences[0]
    assert first.sequences[0].n_preempted == 0
    assert [len(each.sequences[0].generated) for each in (first, second, third)] == [8, 8, 8]


def test_who_was_preempted_computes_only_what_was_lost_and_draws_the_next_token() -> None:
    steps = Steps(n_slots=2, n_cells=10, budget=32)
    first, second = prompt(3, max_tokens=5), prompt(3, max_tokens=7)
    steps.submit(first, second)
    for _ in range(3):
        steps.step()  # 3 + 3 of the prompts, 2 + 2 behind them: the cache is full
    (sequence,) = second.sequences
    assert len(sequence.generated) == 3
    plan = steps.step()
    assert plan.preempted == [sequence]
    assert (sequence.phase, sequence.slot, sequence.computed) == (Phase.WAITING, -1, 0)
    assert len(sequence.generated) == 3
    steps.step(END)
    plan = steps.step()
    assert plan.admitted == [sequence]
    _, start, count, draws = spans(plan)[-1]
    assert (start + count, draws) == (6, 1), "the prompt and three tokens, and a draw from the last"
    assert len(sequence.generated) == 4
    steps.finish()
    assert len(sequence.generated) == 7


def test_a_preempted_text_is_not_computed_again() -> None:
    steps = Steps(n_slots=2, n_cells=29, budget=32)
    first, second = prompt(4, max_tokens=8), prompt(12, max_tokens=9)
    steps.submit(first, second)
    steps.finish()
    assert steps.preempted == [second.sequences[0]]
    assert steps.decoded[second] == 12 + 1, "all of it was restored, and the last token decoded again"
    assert second.n_cached == 0, "what it computed itself was not spared to it"


def test_a_preempted_sequence_keeps_its_place_in_the_queue() -> None:
    steps = Steps(n_slots=2, n_cells=12, budget=32)
    first, second, late = prompt(3, max_tokens=8), prompt(3, max_tokens=8), prompt(3, max_tokens=1)
    steps.submit(first, second, late)
    steps.finish()
    assert steps.preempted == [second.sequences[0]]
    assert steps.admitted == [*first.sequences, *second.sequences, *second.sequences, *late.sequences]


def test_prompts_that_fill_the_cache_alone_do_not_stand_still() -> None:
    steps = Steps(n_slots=2, n_cells=20, budget=4)
    first = prompt(8, max_tokens=12)
    steps.submit(first)
    steps.step(), steps.step()
    steps.submit(second := prompt(10, max_tokens=2))
    for _ in range(4):
        steps.step()
    steps.finish()
    assert len(second.sequences[0].generated) == 2


def test_choices_lose_the_last_of_them_first_and_none_is_lost() -> None:
    steps = Steps(n_slots=4, n_cells=20, budget=32)
    steps.submit(shared := prompt(8, n=4, max_tokens=12))
    steps.finish()
    assert steps.preempted[0] is shared.sequences[3]
    assert shared.sequences[0].n_preempted == 0
    assert all(len(sequence.generated) == 12 for sequence in shared.sequences)


def test_a_cancelled_request_that_was_preempted_is_gone() -> None:
    steps = Steps(n_slots=2, n_cells=12, budget=32)
    first, second = prompt(3, max_tokens=9), prompt(3, max_tokens=9)
    steps.submit(first, second)
    while not steps.preempted:
        steps.step()
    steps.cancel(second.owner)
    assert steps.scheduler.unfinished() == first.sequences
    steps.finish()
    assert len(second.sequences[0].generated) < 9
