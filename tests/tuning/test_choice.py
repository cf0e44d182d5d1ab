"""What is chosen, and what cannot be beaten."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.tuning.choice import WORTHWHILE, choose, front
from tests.tuning.candidates import MEASURED, converted, original

FIGURES = st.lists(st.tuples(st.floats(0.5, 3), st.floats(0, 1)), max_size=8)


def named(candidates: list[tuple[float, float]]) -> list:  # type: ignore[type-arg]
    return [
        original(),
        *(converted(f"F{i}", 1, gain, 1, kl=loss) for i, (gain, loss) in enumerate(candidates)),
    ]


@given(FIGURES)
def test_whoever_is_on_the_front_is_not_beaten_and_whoever_is_not_is(
    figures: list[tuple[float, float]],
) -> None:
    candidates = named(figures)
    points = {id(each): (each.gain(8), each.quality.mean_kl) for each in candidates}
    found = {id(each) for each in front(candidates, 8)}
    for key, (gain, loss) in points.items():
        beaten = any(
            other[0] >= gain and other[1] <= loss and other != (gain, loss) for other in points.values()
        )
        assert beaten == (key not in found and points[key] not in {points[each] for each in found})


@given(FIGURES, st.floats(0, 1))
def test_the_choice_is_within_the_limit_and_about_as_fast_as_any(
    figures: list[tuple[float, float]], limit: float
) -> None:
    candidates = named(figures)
    chosen = choose(candidates, 8, limit, needs_seeds=True)
    assert chosen.is_within(limit)
    for each in candidates:
        if each.is_within(limit):
            assert (chosen.gain(8) or 0) * WORTHWHILE >= (each.gain(8) or 9)


def test_the_fastest_within_the_limit_is_chosen() -> None:
    assert choose(MEASURED, 8, 0.02, needs_seeds=True).name == "Q8_0"
    assert choose(MEASURED, 8, 0.5, needs_seeds=True).name == "Q4_0"
    assert choose(MEASURED, 8, 0.001, needs_seeds=True) is MEASURED[0]


def test_for_one_stream_the_file_is_kept() -> None:
    assert choose(MEASURED, 1, 0.02, needs_seeds=True) is MEASURED[0]


@pytest.mark.parametrize(("gain", "is_chosen"), [(1.02, False), (1.04, True)])
def test_noise_is_no_reason_to_change(gain: float, is_chosen: bool) -> None:
    first, other = original(), converted("Q8_0", 1, gain, 1, kl=0)
    assert (choose([first, other], 8, 0.02, needs_seeds=True) is other) == is_chosen


def test_what_was_slower_in_many_rounds_is_not_taken_for_faster() -> None:
    unsure = converted("1 thread", 1, 1.2, 1, kl=0)
    assert unsure.speed is not None
    unsure.speed = dataclasses.replace(unsure.speed, surely={1: 0.5, 8: 0.9, 16: 0.5}, surely_prefill=0.8)
    assert choose([original(), unsure], 8, 0.02, needs_seeds=True).is_original


def test_of_two_that_are_about_as_fast_the_better_is_chosen() -> None:
    slower, faster = converted("A", 1, 1.30, 1, kl=0.005), converted("B", 1, 1.32, 1, kl=0.015)
    assert choose([original(), faster, slower], 8, 0.02, needs_seeds=True) is slower


def test_a_faster_prefill_alone_is_worth_a_setting_but_no_loss() -> None:
    first, setting = original(), converted("ubatch", 1, 1, 1, kl=0, prefill=1.1)
    lossy = converted("Q8_0", 1, 1, 1, kl=0.001, prefill=2)
    noise = converted("noise", 1, 1, 1, kl=0, prefill=1.02)
    assert choose([first, lossy, setting], 8, 0.02, needs_seeds=True) is setting
    assert choose([first, lossy, noise], 8, 0.02, needs_seeds=True) is first


def test_what_no_longer_repeats_seeds_is_chosen_only_if_that_is_no_matter() -> None:
    moody = converted("Q4_K", 1, 1.5, 1, kl=0.01, seeds=False)
    assert choose([original(), moody], 8, 0.02, needs_seeds=True).is_original
    assert choose([original(), moody], 8, 0.02, needs_seeds=False) is moody


def test_what_was_not_timed_is_neither_chosen_nor_on_the_front() -> None:
    untimed = converted("Q8_0", 1, 2, 2, kl=0)
    untimed.speed = None
    assert choose([original(), untimed], 8, 0.02, needs_seeds=True).is_original
    assert untimed not in front([original(), untimed], 8)
