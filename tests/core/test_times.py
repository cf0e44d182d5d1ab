"""When a request got a slot, and when it had its first token."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

import pytest

from engine.core.policy import SchedulingPolicy
from tests.core.fake_backend import FakeBackend
from tests.core.runs import FIRST, SECOND, prompt, read

if TYPE_CHECKING:
    from tests.core.runs import Start

pytestmark = pytest.mark.usefixtures("order")


async def test_waiting_and_prefill_are_told_apart(start: Start) -> None:
    backend = FakeBackend(n_slots=1, gated=True)
    engine = start(backend)
    began = monotonic()
    first, second = prompt(FIRST, max_tokens=2), prompt(SECOND, max_tokens=2)
    runs = [engine.submit([each]) for each in (first, second)]
    await backend.next_decode()
    assert first.admitted_at is not None
    assert began <= runs[0].submitted_at <= first.admitted_at
    assert first.first_token_at is None, "its prompt is being computed"
    computed = monotonic()
    backend.open_gate()
    for run in runs:
        await read(run)
        assert (run.n_tokens, run.finish_reasons) == (2, {0: "length"})
    assert first.first_token_at is not None
    assert second.admitted_at is not None
    assert second.first_token_at is not None
    assert runs[1].submitted_at <= computed <= first.first_token_at
    assert first.first_token_at <= second.admitted_at <= second.first_token_at <= monotonic()


async def test_what_was_preempted_keeps_its_first_times(start: Start) -> None:
    backend = FakeBackend(n_slots=2, n_cells=10, gated=True)
    engine = start(backend, policy=SchedulingPolicy(headroom=1, min_new_tokens=1))
    first, second = (
        prompt([1, 2, 3], max_tokens=5, owner="one"),
        prompt([4, 5, 6], max_tokens=7, owner="one"),
    )
    second.sequences[0].choice = 1
    run = engine.submit([first, second])
    await backend.next_decode()
    backend.let(1)
    await backend.next_decode()
    times = second.admitted_at, second.first_token_at
    assert None not in times
    backend.open_gate()
    await read(run)
    assert second.sequences[0].n_preempted > 0
    assert (second.admitted_at, second.first_token_at) == times


async def test_a_prompt_without_an_answer_has_no_first_token(start: Start) -> None:
    engine = start(FakeBackend())
    scored = prompt(FIRST, max_tokens=0)
    scored.n_alternatives = 0
    await read(engine.submit([scored]))
    assert scored.admitted_at is not None
    assert scored.first_token_at is None
