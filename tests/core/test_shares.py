"""Clients share the slots in time: whoever has most gives up the youngest to one that waits."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from engine.backend.invariance import BatchInvariance
from engine.core.policy import SchedulingPolicy
from tests.core.steps import Steps, prompt

if TYPE_CHECKING:
    from engine.core.sequence import Prompt

ENDLESS = 60


def submit(steps: Steps, client: str, count: int, max_tokens: int = ENDLESS) -> list[Prompt]:
    made = [prompt(4, max_tokens=max_tokens, client=client) for _ in range(count)]
    steps.submit(*made)
    return made


def running(steps: Steps) -> Counter[object]:
    return Counter(sequence.prompt.client for sequence in steps.running)


def test_a_client_that_comes_gets_a_slot_at_once_and_the_youngest_stream_goes_on_behind_it() -> None:
    steps = Steps(n_slots=4, n_cells=400, budget=32)
    heavy = submit(steps, "heavy", 4)
    for _ in range(10):
        steps.step()
    (light,) = submit(steps, "light", 1, max_tokens=2)
    plan = steps.step()
    assert (plan.admitted, plan.preempted) == (light.sequences, heavy[-1].sequences)
    steps.step()
    assert len(light.sequences[0].generated) == 2
    assert steps.step().admitted == heavy[-1].sequences
    steps.finish()
    assert [len(each.sequences[0].generated) for each in heavy] == [ENDLESS] * 4


def test_a_stream_that_gave_up_its_slot_computes_nothing_again() -> None:
    steps = Steps(n_slots=2, n_cells=400, budget=32, policy=SchedulingPolicy(min_new_tokens=32))
    _, young = submit(steps, "heavy", 2)
    for _ in range(3):
        for _ in range(10):
            steps.step()
        submit(steps, "light", 1, max_tokens=2)
    steps.finish()
    assert young.sequences[0].n_preempted == 3
    assert steps.decoded[young] == len(young.tokens) + 3, "the prompt, and the token drawn last, three times"


def test_whoever_waits_for_a_prefix_gets_its_slot_when_that_is_computed() -> None:
    steps = Steps(n_slots=2, n_cells=400, budget=8)
    steps.submit(prompt(4, max_tokens=ENDLESS, client="heavy"))
    steps.submit(prompt(60, max_tokens=ENDLESS, text=5000, client="heavy"))
    steps.step()
    steps.submit(light := prompt(50, max_tokens=2, text=5000, client="light"))
    steps.step()
    assert light.sequences[0] not in steps.admitted
    for _ in range(12):
        steps.step()
    assert light.sequences[0] in steps.admitted
    assert steps.decoded[light] == 1
    steps.finish()


def test_slots_are_shared_out_evenly_and_then_stay() -> None:
    steps = Steps(n_slots=6, n_cells=900, budget=32)
    submit(steps, "a", 9)
    steps.step()
    submit(steps, "b", 9)
    steps.step()
    assert running(steps) == {"a": 3, "b": 3}
    submit(steps, "c", 1)
    steps.step()
    assert sorted(running(steps).values()) == [1, 2, 3]
    n_preempted = len(steps.preempted)
    for _ in range(20):
        steps.step()
    assert len(steps.preempted) == n_preempted
    steps.finish()


def test_a_client_with_one_slot_keeps_it() -> None:
    steps = Steps(n_slots=2, n_cells=400, budget=32)
    submit(steps, "a", 1)
    submit(steps, "b", 1)
    steps.step()
    submit(steps, "c", 1)
    steps.step()
    assert steps.preempted == []
    steps.finish()


def test_a_client_gives_up_as_many_as_the_text_of_another_needs() -> None:
    steps = Steps(n_slots=4, n_cells=60, budget=64)
    submit(steps, "heavy", 3, max_tokens=14)
    steps.step()
    (long,) = steps_of = [prompt(30, max_tokens=4, client="light")]
    steps.submit(*steps_of)
    steps.step()
    assert long.sequences[0] in steps.running
    assert running(steps)["heavy"] < 3
    steps.finish()


def test_nobody_leaves_for_a_text_that_would_not_fit_all_the_same() -> None:
    steps = Steps(n_slots=4, n_cells=60, budget=64)
    submit(steps, "heavy", 3, max_tokens=14)
    steps.step()
    (long,) = [prompt(50, max_tokens=4, client="light")]
    steps.submit(long)
    steps.step()
    assert (steps.preempted, running(steps)) == ([], {"heavy": 3})
    steps.finish()
    assert len(long.sequences[0].generated) == 4


@pytest.mark.parametrize("n_light", [1, 30])
def test_no_stream_starves_beside_a_client_that_asks_again_and_again(n_light: int) -> None:
    steps = Steps(n_slots=3, n_cells=600, budget=32)
    heavy = submit(steps, "heavy", 3, max_tokens=20)
    for _ in range(n_light):
        submit(steps, "light", 1, max_tokens=3)
        for _ in range(4):
            steps.step()
    assert [len(each.sequences[0].generated) for each in heavy[:2]] == [20, 20] or n_light == 1
    steps.finish()
    assert [len(each.sequences[0].generated) for each in heavy] == [20] * 3


def test_cells_that_a_deferred_text_shares_are_not_taken_for_free() -> None:
    """Whoever leaves last of those that need cells in order leaves no deferred cells behind."""
    steps = Steps(n_slots=4, n_cells=900, budget=32, invariance=BatchInvariance(9))
    submit(steps, "heavy", 2)
    steps.step()
    steps.submit(prompt(9, text=5000, max_tokens=4, batch_invariant=True, client="heavy"))
    steps.step()
    steps.step()
    steps.submit(last := prompt(10, text=5000, max_tokens=ENDLESS, batch_invariant=True, client="heavy"))
    while not steps.slots.n_deferred:
        steps.step()
    submit(steps, "light", 2)
    steps.step()
    assert steps.preempted == last.sequences
    assert steps.slots.n_deferred == 0
    steps.finish()


def test_where_the_cache_cannot_be_cut_nobody_gives_up_a_slot() -> None:
    steps = Steps(n_slots=2, n_cells=400, budget=32, prefix_cache=False)
    submit(steps, "heavy", 2)
    steps.step()
    submit(steps, "light", 1)
    steps.step()
    assert steps.preempted == []
    steps.finish()
