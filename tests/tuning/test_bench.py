"""A loaded candidate and the rounds in which several take turns."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, cast

import pytest

from engine.backend.llama_model import LlamaModel
from engine.loading.profiles import RunSettings
from engine.tuning import bench
from engine.tuning.bench import DEPTH, Bench
from engine.tuning.rounds import Rounds
from tests.models.files import GENERATING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["llama", "mamba"])
def opened(request: pytest.FixtureRequest, original: Path, tmp_path: Path) -> Iterator[Bench]:
    """Return a bench for a model whose memory can be cut, and for one whose cannot."""
    path = original if request.param == "llama" else GENERATING["mamba"].write(tmp_path / "m.gguf")
    with closing(
        Bench(
            LlamaModel(path),
            RunSettings(threads=1, ubatch_size=64),
            widths=(1, 3),
            n_text=100,
            gpu_layers=0,
            tried_widths={},
        )
    ) as made:
        yield made


def test_a_step_and_a_prompt_take_time_and_leave_no_trace(
    opened: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "_SECONDS", 0)
    assert opened.decode_seconds(3, lambda: None) > 0
    assert opened.prefill_seconds(100) > 0
    assert opened.longest_prompt() in (64, 128, 256, 512)
    assert [opened.backend.used_cells(slot) for slot in range(3)] == [0, 0, 0]


def test_each_stream_has_a_text_behind_it(opened: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_SECONDS", 0)
    used: list[list[int]] = []

    def look() -> None:
        used.append([opened.backend.used_cells(slot) for slot in range(3)])

    opened.decode_seconds(2, look)
    depth = DEPTH if opened.backend.model.can_cut else 0
    if depth:
        assert used[0] == [depth + 2, depth + 2, 0]
    assert opened.depth == depth


class _Clocked:
    """Takes as long as it is told, one round after the other, and notes its turns."""

    def __init__(self, name: str, seconds: list[float], turns: list[str]) -> None:
        self._name, self._seconds, self._turns = name, iter(seconds), turns

    def decode_seconds(self, _streams: int, _check: Any) -> float:
        self._turns.append(self._name)
        self._now = next(self._seconds)
        return self._now

    def prefill_seconds(self, n_tokens: int) -> float:
        return self._now * n_tokens


def test_each_round_is_compared_with_the_original_of_that_round() -> None:
    """The machine is half as fast in the second round; the candidate is twice as fast in all of them."""
    turns: list[str] = []
    original = _Clocked("original", [1.0, 2.0, 1.0], turns)
    other = _Clocked("other", [0.5, 1.0, 0.5], turns)
    rounds = Rounds([4], n_prompt=10)
    for _ in range(3):
        rounds.run(cast("Bench", original), {"other": cast("Bench", other)}, lambda: None)
    speed = rounds.speed_of("other")
    assert speed is not None
    assert (speed.decode[4], speed.decode_gain[4], speed.prefill_gain, speed.n_rounds) == (8.0, 2.0, 2.0, 3)
    assert (speed.surely[4], speed.surely_prefill) == (2.0, 2.0)
    assert rounds.speed_of_original().decode[4] == 4.0
    assert rounds.unrest(4) == 0.5
    assert rounds.speed_of("nobody") is None
    assert turns == ["original", "other", "other", "original", "original", "other"]
