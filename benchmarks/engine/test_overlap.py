"""What the engine adds to a model that is paced like one on a GPU, and takes its steps by itself.

The pace is that of a model of 1B parameters on an H200 (docs/notes/step-cost.md). Rows have few tokens, so
the sampler has no share in these figures: what they show is whether anything else stands in the model's way.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from statistics import median
from typing import TYPE_CHECKING

import pytest

from benchmarks.engine.conftest import OVERLAP
from benchmarks.engine.null import PacedBackend
from benchmarks.prompts import SAMPLING
from engine.contract.limits import Limits
from engine.core.engine import Engine
from engine.core.step_cost import StepCost
from engine.service.service import CompletionService

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from benchmarks.engine.conftest import Report

_DECODE = {1: 1.30, 2: 1.84, 4: 2.01, 8: 2.17, 16: 2.44, 32: 2.86, 48: 3.14, 62: 3.59, 63: 4.56, 80: 5.12}
_DECODE |= {88: 5.22, 96: 6.38, 128: 8.28}
_PREFILL = {1: 1.28, 8: 2.09, 32: 2.25, 64: 2.49, 128: 3.13, 256: 4.56, 512: 6.59}
"""Milliseconds."""
_MOST = 128
_N_PROMPT, _N_TOKENS, _N_STEADY = 40, 48, 96
_ROUNDS = 5


def pace() -> StepCost:
    decode, prefill = ({size: ms / 1e3 for size, ms in each.items()} for each in (_DECODE, _PREFILL))
    return StepCost(decode, prefill, max_decodes=_MOST, max_tokens=512)


@pytest.mark.parametrize("streams", [1, 8, 32, 64, 128])
@pytest.mark.parametrize("logprobs", [None, 5], ids=["plain", "logprobs"])
def test_overlap(benchmark: BenchmarkFixture, report: Report, streams: int, logprobs: int | None) -> None:
    """Alternate between text that is made before the next step and text that is made while it runs."""
    steady: dict[bool, list[float]] = {False: [], True: []}
    burst: dict[bool, list[float]] = {False: [], True: []}

    def run() -> None:
        for overlaps in (False, True):
            whole, last = asyncio.run(_seconds(streams, logprobs, is_asynchronous=overlaps))
            burst[overlaps].append(whole)
            steady[overlaps].append(last)

    benchmark.pedantic(run, rounds=_ROUNDS)  # type: ignore[no-untyped-call]
    cost = pace()
    bare = cost.seconds(streams)
    prompts = streams * _N_PROMPT / 512 * cost.seconds(0, 512)
    bare_burst = prompts + _N_TOKENS * bare
    name = "" if logprobs is None else f"  with logprobs={logprobs}"
    ratios = [bare / median(steady[overlaps]) for overlaps in (False, True)]
    bursts = [bare_burst / median(burst[overlaps]) for overlaps in (False, True)]
    report[OVERLAP].append(OVERLAP.line(name, streams, bare * 1e3, *ratios, *bursts))
    benchmark.extra_info |= {"steady": ratios, "burst": bursts}


async def _seconds(streams: int, logprobs: int | None, *, is_asynchronous: bool) -> tuple[float, float]:
    """Return how long the first tokens of all streams took, prompts included, and each of the later steps."""
    backend = PacedBackend(streams, 65_536, pace().seconds, is_asynchronous=is_asynchronous)
    engine = Engine(backend, max_logprobs=5, max_requests=streams, cost=pace())
    service = CompletionService(engine, name="null", limits=Limits(), max_model_len=65_536)
    laps = _Laps(streams)

    async def read(seed: int) -> None:
        fields = {"model": "null", "prompt": f"{seed:>{_N_PROMPT - 1}}", "seed": seed, "stream": True}
        fields |= SAMPLING | {"max_tokens": _N_TOKENS + _N_STEADY, "logprobs": logprobs}
        count = 0
        async for chunk in await service.stream(service.parse(fields)):
            for choice in chunk.choices:
                for _ in choice.text:
                    count += 1
                    laps.note(count)

    with closing(service):
        began = time.perf_counter()
        await asyncio.gather(*map(read, range(streams)))
    first, last = laps.at[_N_TOKENS], laps.at[_N_TOKENS + _N_STEADY]
    return first - began, (last - first) / _N_STEADY


class _Laps:
    """When all streams have had so many tokens."""

    def __init__(self, streams: int) -> None:
        self._missing = [streams] * (_N_TOKENS + _N_STEADY + 1)
        self.at: dict[int, float] = {}

    def note(self, count: int) -> None:
        self._missing[count] -= 1
        if not self._missing[count]:
            self.at[count] = time.perf_counter()
