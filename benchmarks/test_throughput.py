"""Tokens per second through :class:`engine.llm.AsyncLLM`, streamed or not, beside llama.cpp's decodes alone.

A round gives N new prompts to both sides, one right after the other. Both prefill the same tokens and produce
64 for each prompt at batch width N, with the same weights, context parameters and threads. All of it counts,
from the first submission to the last token. What differs is what the engine adds: sampling, text, Python,
delivery.
"""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from math import ceil
from statistics import median
from time import perf_counter, thread_time
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from benchmarks.anatomy import Anatomy
from benchmarks.conftest import MAX_STREAMS, N_CELLS
from benchmarks.report import Elsewhere, Throughput
from engine.llm import AsyncLLM
from engine.loading.hardware import physical_cores
from engine.service.event_loop import new_event_loop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

    from benchmarks.bare import BareProcess, BareTimes
    from benchmarks.prompts import Prompts
    from benchmarks.report import Report
    from engine.loading.models import ModelFile

N_TOKENS = 64
_ROUNDS = {1: 16, 4: 8, 8: 8, 16: 6}
_CALM = 2
"""One round in so many counts, the calmest ones by what the rest of the machine did meanwhile."""

pytestmark = pytest.mark.timeout(900)


class EngineSide:
    """The engine, and an event loop whose clients read its streams."""

    def __init__(self, model: str) -> None:
        self.llm = AsyncLLM(
            model, parallel=MAX_STREAMS, ctx_size=N_CELLS, threads=physical_cores(), gpu_layers=0
        )
        ends = self.llm.service.engine.backend.info.eog_tokens
        self._no_end = dict.fromkeys(ends, -100.0)  # a text that ends early would make a round less work
        self._runner = asyncio.Runner(loop_factory=new_event_loop)

    def generate(self, prompts: list[list[int]], n_tokens: int, logprobs: int | None, *, whole: bool) -> int:
        """Answer every prompt at once, streamed or whole; return the number of tokens."""
        return self._runner.run(self._generate(prompts, n_tokens, logprobs, whole=whole))

    def close(self) -> None:
        self._runner.close()
        self.llm.close()

    async def _generate(
        self, prompts: list[list[int]], n_tokens: int, logprobs: int | None, *, whole: bool
    ) -> int:
        ask = self._complete if whole else self._stream
        requests = [self._fields(prompt, seed, n_tokens, logprobs) for seed, prompt in enumerate(prompts)]
        return sum(await asyncio.gather(*map(ask, requests)))

    def _fields(self, prompt: list[int], seed: int, n_tokens: int, logprobs: int | None) -> dict[str, Any]:
        return {
            "prompt": prompt,
            "max_tokens": n_tokens,
            "temperature": 0.8,
            "top_p": 0.95,
            "presence_penalty": 0.5,
            "frequency_penalty": 0.5,
            "logit_bias": self._no_end,
            "seed": seed,
            "logprobs": logprobs,
        }

    async def _complete(self, fields: dict[str, Any]) -> int:
        return (await self.llm.complete(**fields)).usage.completion_tokens

    async def _stream(self, fields: dict[str, Any]) -> int:
        count = 0
        async for chunk in self.llm.stream(**fields, stream_options={"include_usage": True}):
            if chunk.usage is not None:
                count = chunk.usage.completion_tokens
        return count


class Sides(NamedTuple):
    """What is compared, with the prompts for it."""

    model: ModelFile
    bare: BareProcess
    engine: EngineSide
    prompts: Prompts


class Round(NamedTuple):
    """Both sides, one right after the other."""

    bare: BareTimes
    engine: float
    """Seconds."""
    event_loop: float
    """Seconds of processor time of the event loop, with the clients in it."""
    elsewhere: float | None
    """Processors that other programs kept busy, in the worse of the two halves."""


class Rounds:
    """What pytest-benchmark calls around its own timing of the engine."""

    def __init__(self, sides: Sides, streams: int, logprobs: int | None, *, whole: bool) -> None:
        self.rounds: list[Round] = []
        self.anatomy = Anatomy(streams)
        self._sides = sides
        self._streams = streams
        self._logprobs = logprobs
        self._whole = whole
        self._begin(sides.bare.run(sides.prompts.take(1), 1))

    def set_up(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Run the bare side, so that the two alternate; return the arguments for the engine's."""
        given = self._sides.prompts.take(self._streams)
        self._begin(self._sides.bare.run(given, N_TOKENS))
        return (given, N_TOKENS, self._logprobs), {"whole": self._whole}

    def tear_down(self, *_args: object, **_fields: object) -> None:
        told = [busy for busy in (self._bare.elsewhere, self._watch.processors()) if busy is not None]
        engine, event_loop = perf_counter() - self._start[0], thread_time() - self._start[1]
        self.rounds.append(Round(self._bare, engine, event_loop, max(told, default=None)))

    def row(self) -> Throughput:
        tokens = self._streams * N_TOKENS
        by_calm = sorted(self.rounds, key=lambda round_: round_.elsewhere or 0.0)
        calm = by_calm[: ceil(len(by_calm) / _CALM)]
        return Throughput(
            model=self._sides.model.name,
            streams=self._streams,
            logprobs=self._logprobs,
            whole=self._whole,
            bare=tokens / median(round_.bare.total for round_ in calm),
            engine=tokens / median(round_.engine for round_ in calm),
            ratio=median(round_.bare.total / round_.engine for round_ in calm),
            elsewhere=calm[-1].elsewhere,
            parts=self.anatomy.parts(),
            event_loop=median(round_.event_loop for round_ in calm) * 1e6 / tokens,
        )

    def _begin(self, bare: BareTimes) -> None:
        self._bare = bare
        self._watch = Elsewhere()
        self._start = perf_counter(), thread_time()


@pytest.fixture(scope="session")
def sides(model: ModelFile, bare: BareProcess, prompts: Prompts) -> Iterator[Sides]:
    engine = EngineSide(model.name)
    warm_up = prompts.take(MAX_STREAMS)
    bare.run(warm_up, 4)
    engine.generate(warm_up, 4, 5, whole=False)
    yield Sides(model, bare, engine, prompts)
    engine.close()


@pytest.mark.parametrize(
    ("streams", "logprobs", "whole"),
    [
        pytest.param(1, 5, False, id="1"),
        pytest.param(4, 5, False, id="4"),
        pytest.param(8, 5, False, id="8"),
        pytest.param(16, 5, False, id="16"),
        pytest.param(8, None, False, id="8-plain"),
        pytest.param(1, 5, True, id="1-whole"),
        pytest.param(8, 5, True, id="8-whole"),
        pytest.param(16, 5, True, id="16-whole"),
    ],
)
def test_throughput(
    benchmark: BenchmarkFixture,
    sides: Sides,
    report: Report,
    streams: int,
    logprobs: int | None,
    whole: bool,
) -> None:
    rounds = Rounds(sides, streams, logprobs, whole=whole)
    with rounds.anatomy.watching():
        tokens = benchmark.pedantic(  # type: ignore[no-untyped-call]
            sides.engine.generate, setup=rounds.set_up, teardown=rounds.tear_down, rounds=_ROUNDS[streams]
        )
    assert tokens == streams * N_TOKENS
    if benchmark.stats is None:  # run without --benchmark-enable: it works, and nothing was timed
        return
    row = rounds.row()
    report.throughput.append(row)
    benchmark.extra_info |= {
        "model": sides.engine.llm.service.engine.backend.info.description,
        "llama_cpp_python": version("llama-cpp-python"),
        "threads": physical_cores(),
        "tokens": tokens,
        "bare_tokens_per_s": row.bare,
        "engine_tokens_per_s": row.engine,
        "ratio": row.ratio,
        "bare_prefill_s": [round_.bare.prefill for round_ in rounds.rounds],
        "bare_decode_s": [round_.bare.decode for round_ in rounds.rounds],
        "engine_s": [round_.engine for round_ in rounds.rounds],
        "processors_busy_elsewhere": [round_.elsewhere for round_ in rounds.rounds],
        "microseconds_a_token": None if row.parts is None else row.parts._asdict(),
        "event_loop_microseconds_a_token": row.event_loop,
    }
