"""How many prompt tokens a step takes, learned from steps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.prefill_budget import PrefillBudget


def test_prompt_tokens_add_as_much_as_decodes_take() -> None:
    budget = PrefillBudget(512)
    for _ in range(50):
        budget.note(decodes=4, prompt_tokens=0, seconds=0.020)
        budget.note(decodes=0, prompt_tokens=100, seconds=0.100)
    assert budget.prompt_tokens(4, 1) == 20


def test_a_mixed_step_tells_what_a_prompt_token_adds() -> None:
    budget = PrefillBudget(512)
    budget.note(decodes=4, prompt_tokens=0, seconds=0.020)
    budget.note(decodes=4, prompt_tokens=10, seconds=0.040)
    assert budget.prompt_tokens(4, 1) == 10


def test_what_a_token_takes_beside_decodes_counts_more_than_what_it_takes_alone() -> None:
    budget = PrefillBudget(512)
    budget.note(decodes=0, prompt_tokens=512, seconds=0.0512)
    budget.note(decodes=4, prompt_tokens=0, seconds=0.020)
    assert budget.prompt_tokens(4, 1) == 200
    budget.note(decodes=4, prompt_tokens=200, seconds=0.220)
    assert budget.prompt_tokens(4, 1) == 20


def test_what_a_token_took_beside_other_streams_is_forgotten_once_these_were_alone_for_a_while() -> None:
    budget = PrefillBudget(512)
    budget.note(decodes=0, prompt_tokens=100, seconds=0.400)
    budget.note(decodes=4, prompt_tokens=0, seconds=0.028)
    budget.note(decodes=4, prompt_tokens=10, seconds=0.029)
    assert budget.prompt_tokens(4, 1) > 200
    for _ in range(15):
        budget.note(decodes=4, prompt_tokens=0, seconds=0.028)
    assert budget.prompt_tokens(4, 1) == 7


def test_it_finds_the_chunk_where_most_of_the_time_does_not_depend_on_it() -> None:
    budget = PrefillBudget(512)
    budget.note(decodes=8, prompt_tokens=0, seconds=0.010)
    for _ in range(200):
        tokens = budget.prompt_tokens(8, 1)
        seconds = 0.010 + (0.005 + 0.0001 * tokens if tokens else 0.0)
        budget.note(decodes=8, prompt_tokens=tokens, seconds=seconds)
    assert 45 <= budget.prompt_tokens(8, 1) <= 50


def test_steps_of_many_sequences_bear_more() -> None:
    budget = PrefillBudget(512)
    for decodes in (4, 8):
        budget.note(decodes, prompt_tokens=0, seconds=0.010 * decodes)
    budget.note(decodes=8, prompt_tokens=10, seconds=0.090)
    found = [budget.prompt_tokens(decodes, 1) for decodes in (4, 5, 7, 8)]
    assert found == pytest.approx([40, 50, 70, 80], abs=1)


def test_a_number_of_decodes_that_was_never_alone_lies_between_those_that_were() -> None:
    """Under load there is always a prompt in the step, so that few numbers of decodes are seen alone."""
    budget = PrefillBudget(512)
    budget.note(decodes=1, prompt_tokens=0, seconds=0.010)
    budget.note(decodes=9, prompt_tokens=0, seconds=0.090)
    budget.note(decodes=9, prompt_tokens=10, seconds=0.100)
    found = [budget.prompt_tokens(decodes, 1) for decodes in (4, 5, 8, 9)]
    assert found == pytest.approx([40, 50, 80, 90], abs=1)


def test_more_decodes_than_were_ever_alone_are_measured_first() -> None:
    budget = PrefillBudget(512)
    assert budget.prompt_tokens(4, 1) == 0
    budget.note(decodes=4, prompt_tokens=0, seconds=0.020)
    assert budget.prompt_tokens(4, 1) == 16
    assert (budget.prompt_tokens(3, 1), budget.prompt_tokens(5, 1)) == (0, 0)


@pytest.mark.parametrize("slow", [1, 3])
def test_what_was_learned_before_a_crowd_came_does_not_count_forever(slow: int) -> None:
    """Prompts wait in every step, of a machine that was slower while a lone stream ran, or not."""
    budget = PrefillBudget(512)
    for _ in range(20):
        budget.note(decodes=1, prompt_tokens=0, seconds=0.009 * slow)
        budget.note(decodes=0, prompt_tokens=20, seconds=0.110 * slow)
    steps = []
    for _ in range(400):
        steps.append(tokens := budget.prompt_tokens(5, 3))
        budget.note(decodes=5, prompt_tokens=tokens, seconds=0.0055 * (5 + tokens))
    assert all(6 <= tokens <= 7 for tokens in steps[100:] if tokens)
    assert 3 <= steps[100:].count(0) <= 5


def test_the_more_prompts_wait_the_longer_the_streams_do() -> None:
    budget = PrefillBudget(512)
    for _ in range(3):
        budget.note(decodes=4, prompt_tokens=0, seconds=0.020)
        budget.note(decodes=4, prompt_tokens=10, seconds=0.030)
    assert [budget.prompt_tokens(4, prompts) for prompts in (0, 1, 2, 5, 13)] == [20, 20, 20, 50, 75]


def test_one_step_that_was_held_up_changes_nothing() -> None:
    budget = PrefillBudget(512)
    for seconds in (0.020, 0.020, 5.0, 0.020):
        budget.note(decodes=4, prompt_tokens=0, seconds=seconds)
        budget.note(decodes=4, prompt_tokens=10, seconds=seconds + 0.010)
    assert budget.prompt_tokens(4, 1) == 20


def test_it_follows_a_machine_that_changes() -> None:
    budget = PrefillBudget(512)
    for seconds in (0.001, 0.004):
        for _ in range(50):
            budget.note(decodes=2, prompt_tokens=0, seconds=0.040)
            budget.note(decodes=0, prompt_tokens=1, seconds=seconds)
    assert budget.prompt_tokens(2, 0) == 10


@given(
    st.lists(st.tuples(st.integers(0, 16), st.integers(0, 512), st.floats(1e-6, 10.0))),
    st.integers(16, 512),
    st.integers(0, 16),
)
def test_there_is_some_progress_after_one_step_at_the_latest_and_never_more_than_a_step_holds(
    steps: list[tuple[int, int, float]], n_batch: int, prompts: int
) -> None:
    budget = PrefillBudget(n_batch)
    for decodes, prompt_tokens, seconds in steps:
        budget.note(decodes, prompt_tokens, seconds)
        if budget.prompt_tokens(max(decodes, 1), prompts) == 0:
            budget.note(max(decodes, 1), 0, seconds)
        assert 4 <= budget.prompt_tokens(max(decodes, 1), prompts) <= n_batch
