"""What steps cost is measured once for a file, and again where the machine was busy at that time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from engine.core import calibration
from engine.loading.costs import costs_note, remembered_cost
from tests.core.test_calibration import DECODE, TimedBackend

if TYPE_CHECKING:
    from pathlib import Path

    from engine.core.step_cost import StepCost

SETTINGS = {"kernels": "AVX2", "threads": 2}


class Start:
    """Starts of one model, each with a backend of its own."""

    def __init__(self, file: Path, patch: pytest.MonkeyPatch) -> None:
        self._file, self._patch = file, patch

    def __call__(self, *, slowness: float = 1.0, n_slots: int = 5, seconds: float = 10.0) -> StepCost:
        self.backend = backend = TimedBackend(n_slots=n_slots, n_batch=64)
        backend.slowness = slowness
        self._patch.setattr(calibration, "time", SimpleNamespace(perf_counter=lambda: backend.now))
        return remembered_cost(backend, costs_note(self._file, backend, SETTINGS), seconds=seconds)

    @property
    def measured(self) -> bool:
        """Whether the last start measured everything."""
        return len(self.backend.steps) > len(DECODE)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    return Start(file, monkeypatch)


def test_the_second_start_takes_what_the_first_has_measured(start: Start) -> None:
    first = start()
    assert start.measured
    second = start()
    assert not start.measured
    assert second.widths == first.widths
    for decodes, tokens in [(1, 0), (5, 0), (8, 0), (0, 64), (3, 20)]:
        assert second.seconds(decodes, tokens) == pytest.approx(first.seconds(decodes, tokens))


def test_a_busy_machine_slows_all_steps_and_forgets_nothing(start: Start) -> None:
    first = start()
    busy = start(slowness=3.0)
    assert not start.measured
    assert busy.seconds(4) == pytest.approx(3 * first.seconds(4))
    quiet = start()
    assert not start.measured
    assert quiet.seconds(4) == pytest.approx(first.seconds(4))


def test_what_a_busy_machine_has_measured_is_measured_again(start: Start) -> None:
    start(slowness=3.0)
    quiet = start()
    assert start.measured
    assert {decodes: quiet.seconds(decodes) for decodes in DECODE} == pytest.approx(DECODE)
    start()
    assert not start.measured


def test_other_slots_are_other_steps(start: Start) -> None:
    start()
    start(n_slots=4)
    assert start.measured


@pytest.mark.parametrize(
    "note",
    [
        *("", "{", "null", "{}", '{"decode": {"1": "quick"}}', '{"prefill": {"1": 0.5}}'),
        *(
            '{"decode": {"1": 0}}',
            '{"decode": {"1": NaN}}',
            '{"decode": {"1": -1}}',
            '{"decode": {"0": 1, "1": 1}}',
        ),
        *('{"decode": {"1": 1e400}}', '{"decode": {"1": 9}, "behind": [NaN, 0, 0]}'),
        *('{"decode": {"1": 9}, "depth": -5}', '{"decode": {"1": 9}, "prefill": {"4": 0}}'),
    ],
)
def test_half_a_note_and_an_impossible_one_are_none(start: Start, note: str, tmp_path: Path) -> None:
    start()
    (written,) = (tmp_path / "cache").rglob("costs/*")
    written.write_text(note)
    start()
    assert start.measured


def test_nothing_is_noted_where_nothing_is_measured(start: Start, tmp_path: Path) -> None:
    start(seconds=0.0)
    assert not start.backend.steps
    assert not (tmp_path / "cache").exists()
