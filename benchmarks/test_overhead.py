"""The engine's own microseconds a token: all of it in front of a model that takes no time.

Processor time is told apart for the two threads; on few cores it is the sum of both that llama.cpp lacks.
"""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import TYPE_CHECKING

import pytest

from benchmarks.null_model import NullBackend
from benchmarks.report import Overhead
from engine.contract import Limits
from engine.core.engine import Engine
from engine.service import CompletionService

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

    from benchmarks.report import Report

N_TOKENS = 500
MAX_STREAMS = 16
_ROUNDS = 7


class NullService:
    """The completions service over a null model, with an event loop of its own."""

    def __init__(self) -> None:
        engine = Engine(NullBackend(MAX_STREAMS, n_cells=65_536), max_logprobs=5, max_requests=MAX_STREAMS)
        self.service = CompletionService(engine, name="null", limits=Limits(), max_model_len=65_536)
        self._runner = asyncio.Runner()

    def generate(self, streams: int, logprobs: int | None) -> tuple[float, float]:
        """Read all streams to their ends; return the processor seconds of engine thread and event loop."""
        process, thread = time.process_time(), time.thread_time()
        self._runner.run(self._generate(streams, logprobs))
        event_loop = time.thread_time() - thread
        return time.process_time() - process - event_loop, event_loop

    def close(self) -> None:
        self._runner.close()
        self.service.close()

    async def _generate(self, streams: int, logprobs: int | None) -> None:
        await asyncio.gather(*(self._read(seed, logprobs) for seed in range(streams)))

    async def _read(self, seed: int, logprobs: int | None) -> None:
        fields = {
            "model": "null",
            "prompt": f"Stream {seed}",
            "max_tokens": N_TOKENS,
            "temperature": 0.8,
            "top_p": 0.95,
            "presence_penalty": 0.5,
            "frequency_penalty": 0.5,
            "seed": seed,
            "logprobs": logprobs,
            "stream": True,
        }
        async for _ in await self.service.stream(self.service.parse(fields)):
            pass


@pytest.fixture(scope="module")
def null() -> Iterator[NullService]:
    service = NullService()
    yield service
    service.close()


@pytest.mark.parametrize(
    ("streams", "logprobs"),
    [
        pytest.param(1, None, id="1"),
        pytest.param(8, None, id="8"),
        pytest.param(16, None, id="16"),
        pytest.param(16, 5, id="16-logprobs"),
    ],
)
def test_overhead(
    benchmark: BenchmarkFixture, null: NullService, report: Report, streams: int, logprobs: int | None
) -> None:
    spent: list[tuple[float, float]] = []
    benchmark.pedantic(  # type: ignore[no-untyped-call]
        lambda: spent.append(null.generate(streams, logprobs)), rounds=_ROUNDS
    )
    per_token = 1e6 / (streams * N_TOKENS)
    row = Overhead(
        streams=streams,
        logprobs=logprobs,
        engine=median(engine for engine, _ in spent) * per_token,
        event_loop=median(event_loop for _, event_loop in spent) * per_token,
    )
    report.overhead.append(row)
    benchmark.extra_info |= {
        "tokens": streams * N_TOKENS,
        "engine_thread_us_per_token": row.engine,
        "event_loop_us_per_token": row.event_loop,
    }
