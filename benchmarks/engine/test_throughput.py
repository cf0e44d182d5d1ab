"""Tokens per second through :class:`engine.llm.AsyncLLM`, streamed or not, beside llama.cpp's decodes alone.

A round gives N new prompts to both sides, one right after the other. Both prefill the same tokens and produce
64 for each prompt at batch width N, with the same weights, context parameters and threads. All of it counts,
from the first submission to the last token. What differs is what the engine adds: sampling, text, Python,
delivery.
"""

from __future__ import annotations

import asyncio
from functools import partial
from math import ceil
from statistics import median
from time import perf_counter, thread_time
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from benchmarks.anatomy import Anatomy
from benchmarks.engine.bare import BareLoop, BareTimes
from benchmarks.engine.conftest import STEP, THROUGHPUT
from benchmarks.machine import Elsewhere, most
from benchmarks.prompts import SAMPLING, Prompts
from benchmarks.remote import Remote
from engine.llm import AsyncLLM
from engine.loading.hardware import physical_cores
from engine.service.event_loop import new_event_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

    from benchmarks.engine.conftest import Report
    from engine.loading.models import ModelFile

N_TOKENS = 64
MAX_STREAMS, N_CELLS, N_BATCH = 16, 4096, 512  # the last is what the engine uses
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
        ask: Callable[..., Any] = self._complete if whole else self._stream
        fields = SAMPLING | {"max_tokens": n_tokens, "logit_bias": self._no_end, "logprobs": logprobs}
        asked = (ask(prompt=prompt, seed=seed, **fields) for seed, prompt in enumerate(prompts))
        return sum(await asyncio.gather(*asked))

    async def _complete(self, **fields: Any) -> int:
        return (await self.llm.complete(**fields)).usage.completion_tokens

    async def _stream(self, **fields: Any) -> int:
        count = 0
        async for chunk in self.llm.stream(**fields, stream_options={"include_usage": True}):
            if chunk.usage is not None:
                count = chunk.usage.completion_tokens
        return count


class Sides(NamedTuple):
    """What is compared, with the prompts for it."""

    model: str
    bare: Remote
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
    """What pytest-benchmark calls around its own timing of the engine: the bare side, in turns with it."""

    def __init__(
        self, sides: Sides, streams: int, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> None:
        self.rounds: list[Round] = []
        self._sides, self._streams = sides, streams
        self._arguments, self._options = arguments, options
        self._start = 0.0, 0.0

    def set_up(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        prompts = self._sides.prompts.take(self._streams)
        self._bare: BareTimes = self._sides.bare.call("run", prompts, N_TOKENS)
        self._elsewhere = Elsewhere()
        self._start = perf_counter(), thread_time()
        return (prompts, *self._arguments), self._options

    def tear_down(self, *_args: object, **_fields: object) -> None:
        engine, event_loop = perf_counter() - self._start[0], thread_time() - self._start[1]
        busy = most([self._bare.elsewhere, self._elsewhere.processors()])
        self.rounds.append(Round(self._bare, engine, event_loop, busy))

    def calm(self) -> list[Round]:
        by_calm = sorted(self.rounds, key=lambda one: one.elsewhere or 0.0)
        return by_calm[: ceil(len(by_calm) / _CALM)]


@pytest.fixture(scope="module")
def sides(model: ModelFile) -> Iterator[Sides]:
    bare = Remote(BareLoop, model.path, MAX_STREAMS, N_CELLS, N_BATCH, physical_cores())
    prompts = Prompts(partial(bare.call, "tokenize"))
    engine = EngineSide(model.name)
    warm_up = prompts.take(MAX_STREAMS)
    bare.call("run", warm_up, 4)
    engine.generate(warm_up, 4, 5, whole=False)
    yield Sides(model.name, bare, engine, prompts)
    engine.close()
    bare.close()


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
    rounds = Rounds(sides, streams, (N_TOKENS, logprobs), {"whole": whole})
    anatomy = Anatomy(streams)
    with anatomy.watching():
        tokens = benchmark.pedantic(  # type: ignore[no-untyped-call]
            sides.engine.generate, setup=rounds.set_up, teardown=rounds.tear_down, rounds=_ROUNDS[streams]
        )
    assert tokens == streams * N_TOKENS
    if benchmark.stats is None:  # run without --benchmark-enable: it works, and nothing was timed
        return
    calm = rounds.calm()
    bare = tokens / median(one.bare.total for one in calm)
    engine = tokens / median(one.engine for one in calm)
    ratio = median(one.bare.total / one.engine for one in calm)
    name = "  whole answers" if whole else "  without logprobs" if logprobs is None else sides.model
    report[THROUGHPUT].append(THROUGHPUT.line(name, streams, bare, engine, ratio, calm[-1].elsewhere))
    parts = anatomy.parts()
    assert parts, "there was no steady step"
    llama, sampler, rest = parts
    event_loop = median(one.event_loop for one in calm) * 1e6 / tokens
    added = (sampler + rest) / (llama + sampler + rest)
    report[STEP].append(STEP.line(name, streams, llama, sampler, rest, event_loop, added))
    benchmark.extra_info |= {
        "threads": physical_cores(),
        "tokens": tokens,
        "bare_tokens_per_s": bare,
        "engine_tokens_per_s": engine,
        "ratio": ratio,
        "microseconds_a_token": parts._asdict() | {"event_loop": event_loop},
        "rounds": [one._asdict() for one in rounds.rounds],
    }
