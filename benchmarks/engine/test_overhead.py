"""The engine's own microseconds a token: all of it in front of a model that takes no time.

Processor time is measured apart for the two threads; on few cores it is the sum of both that llama.cpp lacks.
"""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import TYPE_CHECKING

import pytest

from benchmarks.engine.conftest import CONTEXT, OVERHEAD
from benchmarks.engine.null import NullBackend
from benchmarks.prompts import SAMPLING
from engine.contract.limits import Limits
from engine.core.engine import Engine
from engine.core.loop import StepLoop
from engine.core.phases import Phase
from engine.core.sequence import Prompt, Sequence, StopRules
from engine.sampling import SamplingParams
from engine.service.event_loop import new_event_loop
from engine.service.service import CompletionService

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

    from benchmarks.engine.conftest import Report
    from engine.core.answers import Output

N_TOKENS = 500
MAX_STREAMS = 16
_ROUNDS = 7
_SHORT, _LONG = 100, 8_000  # tokens of context
_CONTEXT_ROUNDS = 60
_STEPS = 40


@pytest.mark.parametrize("streams", [1, 8])
def test_context(benchmark: BenchmarkFixture, report: Report, streams: int) -> None:
    """What a token costs the engine thread does not depend on how many came before it."""
    short, long = (_loop_of(streams, context) for context in (_SHORT, _LONG))
    ratios: list[float] = []
    benchmark.pedantic(  # type: ignore[no-untyped-call]
        lambda: ratios.append(1 / _seconds_of(short) * _seconds_of(long)),
        rounds=_CONTEXT_ROUNDS,
        warmup_rounds=2,
    )
    ratio = median(ratios)
    report[CONTEXT].append(CONTEXT.line(f"{_LONG:,} tokens against {_SHORT:,}", streams, ratio))
    benchmark.extra_info["ratio"] = ratio


def _ignore(_: list[Output]) -> None:
    pass


def _loop_of(streams: int, context: int) -> StepLoop:
    """Return a step loop in which so many streams decode behind prompts of so many tokens."""
    loop = StepLoop(NullBackend(streams, n_cells=1 << 20), max_logprobs=5)
    for stream in range(streams):
        prompt = Prompt(object(), [ord("a") + stream] * context, context)
        params = SamplingParams(seed=stream, logprobs=5, **SAMPLING)
        stop = StopRules(frozenset({0}), ("a stop string",))
        prompt.sequences.append(Sequence(prompt, 0, params, max_tokens=1 << 14, stop=stop))
        loop.submit(prompt)
    while any(sequence.phase is not Phase.DECODE for sequence in loop.scheduler.unfinished()):
        loop.step(_ignore)
    return loop


def _seconds_of(loop: StepLoop) -> float:
    """Return the processor seconds of some steps."""
    began = time.process_time()
    for _ in range(_STEPS):
        loop.step(_ignore)
    return time.process_time() - began


@pytest.fixture(scope="module")
def service() -> Iterator[CompletionService]:
    engine = Engine(NullBackend(MAX_STREAMS, n_cells=65_536), max_logprobs=5, max_requests=MAX_STREAMS)
    service = CompletionService(engine, name="null", limits=Limits(), max_model_len=65_536)
    yield service
    service.close()


@pytest.mark.parametrize(
    ("streams", "logprobs"),
    [(1, None), (8, None), (16, None), (16, 5)],
    ids=["1", "8", "16", "16-logprobs"],
)
def test_overhead(
    benchmark: BenchmarkFixture,
    service: CompletionService,
    report: Report,
    streams: int,
    logprobs: int | None,
) -> None:
    spent: list[tuple[float, float]] = []
    with asyncio.Runner(loop_factory=new_event_loop) as runner:

        def run() -> None:
            process, thread = time.process_time(), time.thread_time()
            runner.run(_read_all(service, streams, logprobs))
            event_loop = time.thread_time() - thread
            spent.append((time.process_time() - process - event_loop, event_loop))

        benchmark.pedantic(run, rounds=_ROUNDS)  # type: ignore[no-untyped-call]
    per_token = 1e6 / (streams * N_TOKENS)
    engine, event_loop = (median(seconds) * per_token for seconds in zip(*spent, strict=True))
    name = "" if logprobs is None else f"  with logprobs={logprobs}"
    report[OVERHEAD].append(OVERHEAD.line(name, streams, engine, event_loop))
    benchmark.extra_info |= {
        "tokens": streams * N_TOKENS,
        "engine_thread_us_per_token": engine,
        "event_loop_us_per_token": event_loop,
    }


async def _read_all(service: CompletionService, streams: int, logprobs: int | None) -> None:
    """Read some streams at once, each to its end."""

    async def read(seed: int) -> None:
        fields = {"model": "null", "prompt": f"Stream {seed}", "seed": seed, "stream": True}
        fields |= SAMPLING | {"max_tokens": N_TOKENS, "logprobs": logprobs}
        async for _ in await service.stream(service.parse(fields)):
            pass

    await asyncio.gather(*map(read, range(streams)))
