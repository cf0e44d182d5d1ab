"""Measuring what a step costs: which steps are taken, in how much time, and what is left behind."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from engine.backend.base import BackendError
from engine.core import calibration
from engine.core.calibration import calibrate, measure
from tests.core.fake_backend import FakeBackend

if TYPE_CHECKING:
    from typing import Any

    from engine.backend.base import Batch

DECODE = {1: 0.010, 2: 0.020, 3: 0.035, 4: 0.030, 5: 0.050, 6: 0.040, 7: 0.055, 8: 0.050}


class TimedBackend(FakeBackend):
    """A model that says how long a step takes; its clock stands still meanwhile."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.now = 0.0
        self.slowness = 1.0
        self.steps: list[tuple[int, int]] = []
        """Rows, padding included, and prompt tokens without one."""
        self.hiccups: dict[int, float] = {}
        """Number of a step, from 0, to seconds that it takes longer."""

    def start(self, batch: Batch) -> None:
        rows, tokens = batch.n_rows + batch.padding.rows, batch.size - batch.n_rows
        self.now += self.slowness * (DECODE[rows] + 0.005 * tokens) + self.hiccups.get(len(self.steps), 0.0)
        self.steps.append((rows, tokens))
        super().start(batch)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> TimedBackend:
    backend = TimedBackend(n_slots=5, n_batch=64)
    monkeypatch.setattr(calibration, "time", SimpleNamespace(perf_counter=lambda: backend.now))
    return backend


def test_every_width_is_measured_and_every_size_of_a_prompt(backend: TimedBackend) -> None:
    cost = calibrate(backend, seconds=10.0)
    assert {decodes: cost.seconds(decodes) for decodes in DECODE} == pytest.approx(DECODE)
    assert [cost.seconds(0, tokens) for tokens in (1, 2, 16, 64)] == pytest.approx(
        [0.010, 0.015, 0.085, 0.325]
    )
    assert [cost.padding(decodes) for decodes in range(1, 6)] == [0, 0, 1, 0, 1]


def test_the_cache_is_empty_afterwards(backend: TimedBackend) -> None:
    calibrate(backend, seconds=10.0)
    assert [backend.used_cells(slot) for slot in range(5)] == [0] * 5


def test_it_ends_in_time_and_keeps_to_what_is_used_most(backend: TimedBackend) -> None:
    cost = calibrate(backend, seconds=0.25)
    first, again = DECODE[1], DECODE[3] + DECODE[4]
    assert backend.now <= first + 0.25 + again
    assert [decodes for decodes in DECODE if cost.is_known(decodes)] == [1, 2, 3, 4, 5]
    assert cost.seconds(8) == pytest.approx(0.110)  # on a line through 4 and 5


def test_a_step_that_was_held_up_is_measured_again_before_others_are_preferred(backend: TimedBackend) -> None:
    backend.hiccups[3] = 1.0  # the first step of four rows
    cost = calibrate(backend, seconds=10.0)
    assert backend.steps[3] == (4, 0)
    assert cost.widths[4] == 4
    assert cost.seconds(4) == pytest.approx(DECODE[4])


def test_a_few_steps_tell_how_fast_the_machine_is_now(backend: TimedBackend) -> None:
    measured = measure(backend, seconds=10.0)
    backend.slowness, backend.steps = 2.5, []
    assert measured.pace(backend) == pytest.approx(2.5)
    assert len(backend.steps) == 5
    assert [backend.used_cells(slot) for slot in range(5)] == [0] * 5
    assert measured.step_cost(backend, pace=2.5).seconds(3) == pytest.approx(2.5 * DECODE[3])


def test_a_step_that_is_held_up_does_not_count_for_the_pace(backend: TimedBackend) -> None:
    measured = measure(backend, seconds=10.0)
    backend.hiccups = {len(backend.steps) + 1: 1.0, len(backend.steps) + 3: 1.0}
    assert measured.pace(backend) == pytest.approx(1.0)


def test_nothing_is_measured_unless_it_is_asked_for(backend: TimedBackend) -> None:
    cost = calibrate(backend, seconds=0)
    assert not backend.steps
    assert cost.seconds(4) == 4 * cost.seconds(1)


def test_a_model_that_fails_is_loaded_all_the_same(
    backend: TimedBackend, caplog: pytest.LogCaptureFixture
) -> None:
    backend.faults[3] = BackendError("no memory")
    assert calibrate(backend, seconds=10.0).widths == {decodes: decodes for decodes in DECODE}
    assert "no memory" in caplog.text


def test_a_small_cache_bounds_what_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = TimedBackend(n_slots=5, n_batch=64, n_cells=6)
    monkeypatch.setattr(calibration, "time", SimpleNamespace(perf_counter=lambda: backend.now))
    calibrate(backend, seconds=10.0)
    assert max(tokens for _, tokens in backend.steps) == 3, "four tokens of a prompt, the last with a row"
