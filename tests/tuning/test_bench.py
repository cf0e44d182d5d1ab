"""A loaded candidate and the rounds in which several take turns."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, cast

import pytest

from engine.backend.llama_model import LlamaModel
from engine.loading.profiles import RunSettings
from engine.tuning.bench import DEPTH, Bench
from engine.tuning.rounds import Rounds
from tests.kinds.files import GENERATING

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


def test_steps_and_prompts_take_time_and_leave_no_trace(opened: Bench) -> None:
    opened.begin(2)
    assert all(opened.step_seconds(2, step) > 0 for step in range(3))
    depth = DEPTH if opened.backend.model.can_cut else 0
    assert opened.depth == depth
    if depth:
        assert used(opened) == [depth + 3, depth + 3, 0]
    opened.end(2)
    assert opened.prefill_seconds(100) > 0
    assert opened.longest_prompt() in (64, 128, 256, 512)
    assert used(opened) == [0, 0, 0]


def used(opened: Bench) -> list[int]:
    return [opened.backend.used_cells(slot) for slot in range(3)]


class _Clocked:
    """Takes as long as it is told, at each moment, and notes its turns; a moment is a turn of anybody."""

    def __init__(self, name: str, factor: float, turns: list[str]) -> None:
        self._name, self._factor, self._turns = name, factor, turns

    def begin(self, streams: int) -> None:
        self._turns.append(f"{self._name} begins with {streams}")

    def end(self, streams: int) -> None:
        self._turns.append(f"{self._name} ends with {streams}")

    def step_seconds(self, _streams: int, step: int) -> float:
        self._turns.append(f"{self._name} {step}")
        return self._factor * (10 if step == 2 else 1)  # the machine does something else for a moment

    def prefill_seconds(self, n_tokens: int) -> float:
        return self._factor * n_tokens


def test_each_step_is_compared_with_the_one_beside_it() -> None:
    turns: list[str] = []
    original, other = (
        cast("Bench", _Clocked(name, factor, turns)) for name, factor in (("original", 1.0), ("other", 0.5))
    )
    rounds = Rounds([4], n_prompt=10)
    for _ in range(3):
        rounds.run(original, {"other": other}, lambda: None)
    speed = rounds.speed_of("other")
    assert speed is not None
    assert (speed.decode[4], speed.decode_gain[4], speed.prefill_gain, speed.n_rounds) == (8.0, 2.0, 2.0, 3)
    assert (speed.surely[4], speed.surely_prefill) == (2.0, 2.0)
    assert rounds.speed_of_original().decode[4] == 4.0
    assert rounds.speed_of_original().decode_gain[4] == 1.0
    assert rounds.unrest(4) == 0.0
    assert rounds.speed_of("nobody") is None
    assert turns[: len(turns) // 3] == [
        *("original begins with 4", "other begins with 4"),
        *("original 0", "other 0", "other 1", "original 1", "original 2", "other 2", "other 3", "original 3"),
        *("original ends with 4", "other ends with 4"),
    ]


def test_slots_are_emptied_when_the_work_is_to_end() -> None:
    turns: list[str] = []
    original = cast("Bench", _Clocked("original", 1.0, turns))
    checks = iter([None, None, KeyboardInterrupt])

    def check() -> None:
        if (end := next(checks)) is not None:
            raise end

    with pytest.raises(KeyboardInterrupt):
        Rounds([4], n_prompt=10).run(original, {}, check)
    assert turns[-1] == "original ends with 4"
