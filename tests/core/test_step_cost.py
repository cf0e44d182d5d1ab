"""What steps cost, from measurements and from the steps that were taken."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.step_cost import StepCost

# Milliseconds of a step of Gemma-3-270M as Q4_K_M on two cores: rows go by four, and by two.
GEMMA = dict(enumerate((14.7, 27.0, 45.2, 35.2, 57.0, 47.2, 65.9, 54.7, 76.7, 67.4, 88.7, 79.7), 1))


def gemma() -> StepCost:
    return StepCost(GEMMA, {1: 5.0}, max_decodes=12, max_tokens=512)


def test_a_step_takes_the_cheapest_width_that_holds_it() -> None:
    found = [decodes + gemma().padding(decodes) for decodes in GEMMA]
    assert found == [1, 2, 4, 4, 6, 6, 8, 8, 10, 10, 12, 12]


def test_a_width_that_costs_hardly_less_is_not_worth_rows_that_nobody_reads() -> None:
    cost = StepCost({1: 10.0, 2: 9.8, 3: 9.5}, {1: 1.0}, max_decodes=3, max_tokens=8)
    assert [cost.padding(decodes) for decodes in (1, 2, 3)] == [2, 1, 0]
    close = StepCost({1: 10.0, 2: 9.8}, {1: 1.0}, max_decodes=2, max_tokens=8)
    assert close.padding(1) == 0


def test_what_is_not_measured_lies_on_a_line_and_is_not_padded_to() -> None:
    cost = StepCost({2: 20.0, 4: 30.0}, {1: 1.0, 4: 10.0}, max_decodes=6, max_tokens=16)
    assert [cost.seconds(decodes) for decodes in range(1, 7)] == [15, 20, 25, 30, 35, 40]
    assert [cost.seconds(0, tokens) for tokens in (1, 2, 3, 4, 8, 16)] == [1, 4, 7, 10, 22, 46]
    assert all(cost.padding(decodes) == 0 for decodes in range(1, 7))
    assert [cost.is_known(decodes) for decodes in (1, 2)] == [False, True]


def test_prompt_tokens_cost_what_the_tokens_of_a_prompt_do_and_rows_of_logits_more() -> None:
    cost = StepCost({4: 20.0}, {1: 1.0}, max_decodes=4, max_tokens=64)
    assert cost.seconds(4, 10) == pytest.approx(20 + 10)
    assert cost.prompt_tokens(4, share=1.0) == 20
    assert cost.prompt_tokens(4, share=100.0) == 60


def test_a_step_nobody_has_taken_is_learned_at_once() -> None:
    cost = StepCost({1: 10.0}, {1: 1.0}, max_decodes=4, max_tokens=64)
    for _ in range(200):
        cost.note(3, 0, 21.0)
        cost.note(1, 0, 10.0)
    assert cost.seconds(3) == pytest.approx(21.0, rel=0.03)
    assert cost.seconds(1) == pytest.approx(10.0, rel=0.03)


def test_a_width_is_chosen_once_steps_have_shown_it_to_be_cheaper() -> None:
    cost = StepCost({1: 14.7, 2: 27.0, 4: 56.0}, {1: 5.0}, max_decodes=4, max_tokens=64)
    for _ in range(200):
        decodes = 3 + cost.padding(3)
        cost.note(decodes, 0, GEMMA[decodes])
    assert cost.widths[3] == 3  # it has not seen that four cost less
    chance = random.Random(1)  # noqa: S311
    for _ in range(2000):
        decodes = chance.choice([3 + cost.padding(3), 4])
        cost.note(decodes, 0, GEMMA[decodes])
    assert cost.widths[3] == 4


def test_now_and_then_it_tries_what_it_does_not_know_and_what_it_has_given_up() -> None:
    unknown = StepCost({3: 45.2}, {1: 5.0}, max_decodes=4, max_tokens=64)
    assert {unknown.padding(3) for _ in range(300)} == {0, 1}
    assert {gemma().padding(3) for _ in range(100)} == {1}
    known = gemma()
    assert {known.padding(3) for _ in range(300)} == {1, 0}


def test_a_neighbour_for_a_while_changes_no_choice() -> None:
    cost = gemma()
    chance = random.Random(1)  # noqa: S311
    for slow in (1.0, 2.5, 1.0):
        for _ in range(300):
            decodes = chance.choice([3, 5, 7, 8])
            width = decodes + cost.padding(decodes)
            cost.note(width, 0, GEMMA[width] * slow * chance.uniform(0.95, 1.05))
        assert cost.seconds(8) == pytest.approx(54.7 * slow, rel=0.15)
        assert [cost.widths[decodes] for decodes in (3, 5, 7, 8)] == [4, 6, 8, 8]


def test_one_step_that_was_held_up_is_hardly_seen() -> None:
    cost = gemma()
    cost.note(8, 0, 5000.0)
    assert cost.seconds(8) < 1.1 * 54.7
    assert cost.widths == gemma().widths


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 64), st.floats(0, 1e6, allow_subnormal=False))),
    st.integers(1, 8),
)
def test_whatever_steps_take_every_step_has_a_price_and_a_width(
    steps: list[tuple[int, int, float]], decodes: int
) -> None:
    cost = StepCost.uniform(8, 72)
    for beside, prompt_tokens, seconds in steps:
        if beside + prompt_tokens:
            cost.note(beside, prompt_tokens, seconds)
    assert 0 < cost.seconds(decodes) < math.inf
    assert 0 <= cost.padding(decodes) <= 8 - decodes
    assert 0 <= cost.prompt_tokens(decodes, share=1.0) <= 72 - decodes
