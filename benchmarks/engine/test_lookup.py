"""Tokens per second with and without guessed tokens, on texts that repeat themselves and one that does not.

The answers have no seed: beside each other, sequences with one guess nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.engine.conftest import LOOKUP
from engine.async_llm import AsyncLLM
from engine.service.event_loop import new_event_loop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

    from benchmarks.engine.conftest import Report
    from engine.models.names import ModelFile

_N_TOKENS = 128
_STREAMS = 8
_ROUNDS = 5

_VERSE = "The old fisherman rows his boat across the quiet lake and counts the birds that rest on the water. "
_CODE = """def area(width: float, height: float) -> float:
    return width * height


def volume(width: float, height: float, depth: float) -> float:
    return area(width, height) * depth

"""
_RECORD = '{"name": "Ada", "city": "London", "tags": ["first", "second"], "active": true},\n'
TEXTS = {
    "a copy": _VERSE * 4,
    "code": _CODE * 3 + "def area(width: float",
    "JSON": "[" + _RECORD * 5,
    "prose": "Once upon a time, in a small village by the sea, there lived",
}
"""What is to be continued. All but the last repeat themselves; the last is drawn at a temperature of 1."""

pytestmark = pytest.mark.timeout(900)


class Sides:
    """One server that guesses, and one that does not."""

    def __init__(self, model: ModelFile) -> None:
        self.model = model.name
        self._runner = asyncio.Runner(loop_factory=new_event_loop)
        self._llms = {
            guesses: AsyncLLM(model.name, parallel=_STREAMS, ctx_size=8192, speculation=guesses)
            for guesses in ("off", "auto")
        }
        ends = self._llms["off"].service.engine.backend.info.eog_tokens
        self._no_end = dict.fromkeys(ends, -100.0)

    def run(self, guesses: str, text: str, streams: int) -> tuple[float, int, int]:
        """Return the seconds of so many answers at once, and how many tokens were guessed, and right."""
        return self._runner.run(self._answer(self._llms[guesses], text, streams))

    async def _answer(self, llm: AsyncLLM, text: str, streams: int) -> tuple[float, int, int]:
        fields: dict[str, Any] = {"prompt": TEXTS[text], "max_tokens": _N_TOKENS}
        fields |= {"logit_bias": self._no_end, "temperature": 1.0 if text == "prose" else 0.0}
        began = perf_counter()
        answers = await asyncio.gather(*(llm.complete(**fields) for _ in range(streams)))
        seconds = perf_counter() - began
        details = [answer.usage.completion_tokens_details for answer in answers]
        right = sum(each.accepted_prediction_tokens for each in details)
        return seconds, right + sum(each.rejected_prediction_tokens for each in details), right

    def close(self) -> None:
        """End both."""
        for llm in self._llms.values():
            llm.close()
        self._runner.close()


@pytest.fixture(scope="module")
def sides(model: ModelFile) -> Iterator[Sides]:
    with closing(Sides(model)) as sides:
        yield sides


@pytest.mark.parametrize("streams", [1, _STREAMS])
@pytest.mark.parametrize("text", [*TEXTS])
def test_lookup(benchmark: BenchmarkFixture, sides: Sides, report: Report, text: str, streams: int) -> None:
    rounds: list[tuple[float, float]] = []
    guessed = right = 0

    def run() -> None:
        nonlocal guessed, right
        without, _, _ = sides.run("off", text, streams)
        seconds, n_guessed, n_right = sides.run("auto", text, streams)
        rounds.append((without, seconds))
        guessed, right = guessed + n_guessed, right + n_right

    benchmark.pedantic(run, rounds=_ROUNDS, warmup_rounds=1)  # type: ignore[no-untyped-call]
    per_second = streams * _N_TOKENS
    without, seconds = (median(side) for side in zip(*rounds, strict=True))
    ratio = median(first / second for first, second in rounds)
    share = right / guessed if guessed else None
    cells = (sides.model, text, streams, per_second / without, per_second / seconds, ratio, guessed, share)
    report[LOOKUP].append(LOOKUP.line(*cells))
    benchmark.extra_info |= {"ratio": ratio, "guessed": guessed, "right": right}
