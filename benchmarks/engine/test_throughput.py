"""Tokens per second through ``AsyncLLM``, streamed or not, beside llama.cpp's decodes alone.

A round gives N new prompts to both sides, one right after the other. Both prefill the same tokens and produce
64 for each prompt at batch width N, with the same weights, context parameters and threads. All of it counts,
from the first submission to the last token. What differs is what the engine adds: sampling, text, Python,
delivery.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from functools import partial
from itertools import islice
from statistics import median
from time import perf_counter, thread_time
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from benchmarks.anatomy import Anatomy
from benchmarks.engine.conftest import STEP, THROUGHPUT
from benchmarks.llama import BareLoop, BareTimes
from benchmarks.machine import Elsewhere, calm_ones
from benchmarks.prompts import SAMPLING, token_prompts
from benchmarks.remote import Remote
from engine.async_llm import AsyncLLM
from engine.hardware import physical_cores
from engine.service.event_loop import new_event_loop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

    from benchmarks.engine.conftest import Report
    from engine.models.names import ModelFile

N_TOKENS = 64
MAX_STREAMS, N_CELLS, N_BATCH = 16, 4096, 512  # the last is what the engine uses
_ROUNDS = {1: 16, 16: 6}
"""By the number of streams; otherwise 8."""


class Case(NamedTuple):
    """How the engine is asked."""

    streams: int
    title: str = ""
    """What the row is called; by default as the model is."""
    logprobs: int | None = 5
    whole: bool = False
    """Whether answers come in one piece."""


WHOLE = "  whole answers"
CASES = {
    **{str(streams): Case(streams) for streams in (1, 2, 3, 4, 5, 7, 8, 9, 16)},
    "8-plain": Case(8, "  without logprobs", logprobs=None),
    "1-whole": Case(1, WHOLE, whole=True),
    "8-whole": Case(8, WHOLE, whole=True),
    "16-whole": Case(16, WHOLE, whole=True),
}

pytestmark = pytest.mark.timeout(900)


class Round(NamedTuple):
    """Both sides, one right after the other."""

    bare: BareTimes
    engine: float
    """Seconds."""
    event_loop: float
    """Seconds of processor time of the event loop, with the clients in it."""
    elsewhere: float
    """Processors that other programs kept busy, in the worse of the two halves."""


class Sides:
    """What is compared: a bare loop in a process of its own, and the engine with an event loop here."""

    def __init__(self, model: ModelFile) -> None:
        threads = physical_cores()
        self.model = model.name
        self._bare = Remote(BareLoop, model.path, MAX_STREAMS, N_CELLS, N_BATCH, threads)
        self._prompts = token_prompts(partial(self._bare.call, "tokenize"))
        self._llm = AsyncLLM(
            model.name, parallel=MAX_STREAMS, ctx_size=N_CELLS, threads=threads, gpu_layers=0
        )
        self._runner = asyncio.Runner(loop_factory=new_event_loop)
        ends = self._llm.service.engine.backend.info.eog_tokens
        no_end = dict.fromkeys(ends, -100.0)  # a text that ends early would make a round less work
        self._fields = SAMPLING | {"max_tokens": N_TOKENS, "logit_bias": no_end}

    def run_bare(self, streams: int) -> tuple[list[list[int]], BareTimes]:
        """Give new prompts to the bare loop; return them with its times."""
        prompts = list(islice(self._prompts, streams))
        return prompts, self._bare.call("run", prompts, N_TOKENS)

    def run_engine(self, prompts: list[list[int]], bare: BareTimes, case: Case) -> Round:
        """Answer every prompt at once, after the bare loop."""
        elsewhere, start, start_of_loop = Elsewhere(), perf_counter(), thread_time()
        assert self._runner.run(self._answer(prompts, case)) == len(prompts) * N_TOKENS
        seconds, event_loop = perf_counter() - start, thread_time() - start_of_loop
        return Round(bare, seconds, event_loop, max(bare.elsewhere, elsewhere.processors()))

    def close(self) -> None:
        """End both."""
        self._runner.close()
        self._llm.close()
        self._bare.close()

    async def _answer(self, prompts: list[list[int]], case: Case) -> int:
        """Return the number of tokens of all answers."""
        answer = self._complete if case.whole else self._stream
        fields = self._fields | {"logprobs": case.logprobs}
        answers = (answer(prompt=prompt, seed=seed, **fields) for seed, prompt in enumerate(prompts))
        return sum(await asyncio.gather(*answers))

    async def _complete(self, **fields: Any) -> int:
        tokens: int = (await self._llm.complete(**fields)).usage.completion_tokens
        return tokens

    async def _stream(self, **fields: Any) -> int:
        tokens = 0
        async for chunk in self._llm.stream(**fields, stream_options={"include_usage": True}):
            if chunk.usage is not None:
                tokens = chunk.usage.completion_tokens
        return tokens


@pytest.fixture(scope="module")
def sides(model: ModelFile) -> Iterator[Sides]:
    with closing(Sides(model)) as sides:
        sides.run_engine(*sides.run_bare(MAX_STREAMS), CASES["16"])  # to warm up
        yield sides


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_throughput(benchmark: BenchmarkFixture, sides: Sides, report: Report, case: Case) -> None:
    rounds: list[Round] = []
    anatomy = Anatomy(case.streams)
    with anatomy.watching():
        benchmark.pedantic(  # type: ignore[no-untyped-call]
            lambda prompts, bare: rounds.append(sides.run_engine(prompts, bare, case)),
            setup=lambda: (sides.run_bare(case.streams), {}),
            rounds=_ROUNDS.get(case.streams, 8),
        )
    parts = anatomy.parts()
    assert parts, "there was no steady step"
    tokens, calm = case.streams * N_TOKENS, calm_ones(rounds, lambda one: one.elsewhere)
    bare_seconds = [one.bare.prefill + one.bare.decode for one in calm]
    bare, engine = tokens / median(bare_seconds), tokens / median(one.engine for one in calm)
    ratio = median(seconds / one.engine for seconds, one in zip(bare_seconds, calm, strict=True))
    name = case.title or sides.model
    busiest = max(one.elsewhere for one in calm)
    report[THROUGHPUT].append(THROUGHPUT.line(name, case.streams, bare, engine, ratio, busiest))
    event_loop = median(one.event_loop for one in calm) * 1e6 / tokens
    added = 1 - parts.llama / sum(parts)
    report[STEP].append(STEP.line(name, case.streams, *parts, event_loop, added))
    benchmark.extra_info |= {
        "threads": physical_cores(),
        "tokens": tokens,
        "bare_tokens_per_s": bare,
        "engine_tokens_per_s": engine,
        "ratio": ratio,
        "microseconds_a_token": parts._asdict() | {"event_loop": event_loop},
        "rounds": [one._asdict() for one in rounds],
    }
