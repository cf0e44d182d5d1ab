"""How many prompt tokens a step takes, learned from steps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.core.pace import Pace


def test_prompt_tokens_add_as_much_as_decodes_take() -> None:
    pace = Pace(512)
    for _ in range(50):
        pace.note(decodes=4, prompt_tokens=0, seconds=0.020)
        pace.note(decodes=0, prompt_tokens=100, seconds=0.100)
    assert pace.prompt_tokens == 20


def test_a_mixed_step_tells_what_a_prompt_token_adds() -> None:
    pace = Pace(512)
    pace.note(decodes=4, prompt_tokens=0, seconds=0.020)
    pace.note(decodes=4, prompt_tokens=10, seconds=0.040)
    assert pace.prompt_tokens == 10


def test_it_follows_a_machine_that_changes() -> None:
    pace = Pace(512)
    for seconds in (0.001, 0.004):
        for _ in range(50):
            pace.note(decodes=2, prompt_tokens=0, seconds=0.040)
            pace.note(decodes=0, prompt_tokens=1, seconds=seconds)
    assert pace.prompt_tokens == 10


@given(
    st.lists(st.tuples(st.integers(0, 16), st.integers(0, 512), st.floats(1e-6, 10.0))), st.integers(16, 512)
)
def test_there_is_always_some_progress_and_never_more_than_a_step_holds(
    steps: list[tuple[int, int, float]], budget: int
) -> None:
    pace = Pace(budget)
    for decodes, prompt_tokens, seconds in steps:
        pace.note(decodes, prompt_tokens, seconds)
        assert min(4, budget) <= pace.prompt_tokens <= budget
