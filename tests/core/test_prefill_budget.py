"""How many prompt tokens a step takes, by what steps cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.prefill_budget import prefill_budget
from engine.core.step_cost import StepCost


def test_prompt_tokens_add_as_much_as_decodes_take() -> None:
    cost = StepCost({4: 0.020}, {1: 0.001}, max_decodes=16, max_tokens=512)
    assert prefill_budget(cost, 4, 1) == 20


def test_steps_of_many_sequences_bear_more() -> None:
    cost = StepCost({1: 0.010}, {1: 0.001}, max_decodes=16, max_tokens=512)
    assert [prefill_budget(cost, decodes, 1) for decodes in (4, 5, 7, 8)] == [40, 50, 70, 80]


def test_where_many_tokens_cost_as_much_as_few_it_takes_them() -> None:
    """Milliseconds of one H200 (docs/notes/step-cost.md)."""
    prefill = {1: 1.28, 8: 2.09, 32: 2.25, 64: 2.49, 128: 3.13, 256: 4.56, 512: 6.59}
    cost = StepCost({1: 1.26, 8: 2.05, 32: 2.55}, prefill, max_decodes=32, max_tokens=512)
    assert 190 < prefill_budget(cost, 8, 1) < 240
    assert 60 < prefill_budget(cost, 1, 1) < 80


def test_the_more_prompts_wait_the_longer_the_streams_do() -> None:
    cost = StepCost({4: 0.020}, {1: 0.001}, max_decodes=16, max_tokens=512)
    assert [prefill_budget(cost, 4, prompts) for prompts in (0, 1, 2, 5, 13)] == [20, 20, 20, 50, 75]


@pytest.mark.parametrize("slow", [1, 3])
def test_a_machine_that_is_slower_for_everything_takes_the_same_steps(slow: int) -> None:
    prefill = {size: 0.0055 * size for size in (1, 2, 4, 8, 16, 32)}
    cost = StepCost({5: 0.0275}, prefill, max_decodes=16, max_tokens=512)
    for _ in range(400):
        tokens = prefill_budget(cost, 5, 3)
        cost.note(5, tokens, 0.0055 * slow * (5 + tokens))
    assert 6 <= prefill_budget(cost, 5, 3) <= 7


def test_it_finds_the_chunk_where_a_prompt_costs_something_whatever_its_length() -> None:
    cost = StepCost({8: 0.010}, {1: 0.0001}, max_decodes=16, max_tokens=512)
    for _ in range(400):
        tokens = prefill_budget(cost, 8, 1)
        cost.note(8, tokens, 0.010 + 0.005 + 0.0001 * tokens)
        cost.note(8, 0, 0.010)
    assert 30 <= prefill_budget(cost, 8, 1) <= 60


@given(
    st.lists(st.tuples(st.integers(0, 16), st.integers(0, 512), st.floats(1e-6, 10.0))),
    st.integers(16, 512),
    st.integers(1, 16),
    st.integers(0, 16),
)
def test_there_is_some_progress_and_never_more_than_a_step_holds(
    steps: list[tuple[int, int, float]], n_batch: int, decodes: int, prompts: int
) -> None:
    cost = StepCost.uniform(16, n_batch)
    for beside, prompt_tokens, seconds in steps:
        if 0 < beside + prompt_tokens <= n_batch:
            cost.note(beside, prompt_tokens, seconds)
    assert 4 <= prefill_budget(cost, decodes, prompts) <= n_batch
