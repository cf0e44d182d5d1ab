"""What the engine thread counts and times."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from engine.backend.base import BackendError
from engine.core.policy import SchedulingPolicy
from tests.core.fake_backend import FakeBackend
from tests.core.runs import FIRST, SECOND, prompt, read

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.core.engine import Engine

    Start = Callable[..., Engine]

pytestmark = pytest.mark.usefixtures("order")


async def test_tokens_are_counted_by_how_they_are_computed(start: Start) -> None:
    engine = start(FakeBackend())
    made = prompt(SECOND, n=2, max_tokens=5)
    deltas = await read(engine.submit([made]))
    assert sum(delta.n_tokens for delta in deltas) == 10
    totals = engine.step_totals
    assert (totals.prefilled, totals.decoded) == (len(SECOND) - made.n_cached, 2 * 4)
    assert (totals.steps, totals.failed) == (5, 0)


async def test_each_loss_of_a_slot_is_counted(start: Start) -> None:
    engine = start(FakeBackend(n_cells=20), policy=SchedulingPolicy(headroom=1, min_new_tokens=1))
    made = [prompt([number, 2, 3, 4], max_tokens=8) for number in (5, 6, 7)]
    await asyncio.gather(*(read(engine.submit([each])) for each in made))
    lost = sum(sequence.n_preempted for each in made for sequence in each.sequences)
    assert engine.step_totals.preemptions == lost >= 1


async def test_a_request_has_ended_when_its_last_delta_is_there(start: Start) -> None:
    backend = FakeBackend(gated=True)
    engine, made = start(backend), prompt(FIRST, max_tokens=2)
    run = engine.submit([made])
    await backend.next_decode()
    assert run.ended_at is None
    backend.open_gate()
    await read(run)
    assert made.first_token_at is not None
    assert run.ended_at is not None
    assert made.first_token_at < run.ended_at <= time.monotonic()


async def test_a_step_that_fails_is_counted_and_not_timed(start: Start) -> None:
    backend = FakeBackend()
    engine = start(backend)
    backend.faults = {2: BackendError("out of order")}
    with pytest.raises(Exception, match="out of order"):
        await read(engine.submit([prompt(FIRST, max_tokens=4)]))
    await asyncio.to_thread(engine.close)
    totals = engine.step_totals
    assert (totals.failed, totals.steps) == (1, 1)
    counts = [
        sum(times.read().counts)
        for times in (totals.step_seconds, totals.model_seconds, totals.sampling_seconds)
    ]
    assert counts == [1, 1, 1]
