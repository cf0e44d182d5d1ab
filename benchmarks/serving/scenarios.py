"""What our own server alone does with prompts that are long, shared, or seen before; over HTTP.

Prompts are random token ids, so their lengths are exact, and no prefix cache has seen one that it should not.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.client import HttpClient
from benchmarks.machine import Elsewhere
from benchmarks.prompts import SAMPLING, Questions
from benchmarks.servers import HOST
from benchmarks.serving.results import Pair, Ratio
from benchmarks.serving.turn import Answer, Load, Work

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.servers import Running

CONTEXT = 20_480
"""Tokens of KV cache that the scenarios need: eight prompts of 2,000 that share nothing."""

_ORDINARY = range(1000, 30_000)  # ids that are text in the vocabularies of all the models
_TAIL = 16  # tokens in which prompts with a shared prefix differ
_TOGETHER = 8
_STREAMS = 4
_STEADY = 5.0  # seconds in which the streams are alone
_PATIENCE = 300.0  # seconds that one request may take


@dataclass(frozen=True, slots=True)
class Scenarios:
    """The scenarios on one server of ours."""

    running: Running  # with CONTEXT tokens of cache, and as many slots as there are requests at once
    long: int  # tokens of the long prompts; the prompt that has several answers is half as long

    async def run(self, rounds: int) -> AsyncIterator[Ratio]:
        """Yield each when it ends; the times are milliseconds."""
        await self._first_token(_tokens(_TAIL))  # to warm up
        streamed = f"(d) ITL p99 of {_STREAMS} streams while {self.long} tokens arrive, against p50"
        for title, goal, measure in (
            (f"(a) TTFT, {self.long // 2} tokens, n=8 against n=1", 1.05, self._choices),
            (f"(b) TTFT p95, {_TOGETHER} at once share {self.long} tokens", 0.25, self._shared),
            (f"(c) TTFT, {self.long} tokens, warm against cold", 0.05, self._again),
            (streamed, 3.0, self._arrival),
        ):
            pairs: list[Pair] = []
            for _ in range(rounds):
                elsewhere = Elsewhere(self.running.pid)
                without, along = await measure()
                pairs.append(Pair(without * 1e3, along * 1e3, elsewhere.processors()))
            yield Ratio(title, pairs, goal)

    async def _choices(self) -> tuple[float, float]:
        one, eight = _tokens(self.long // 2), _tokens(self.long // 2)
        return await self._first_token(one), await self._first_token(eight, n=8)

    async def _shared(self) -> tuple[float, float]:
        unshared = [_tokens(self.long + _TAIL) for _ in range(_TOGETHER)]
        prefix = _tokens(self.long)
        shared = [prefix + _tokens(_TAIL) for _ in range(_TOGETHER)]
        times = [await asyncio.gather(*map(self._first_token, prompts)) for prompts in (unshared, shared)]
        without, along = np.percentile(times, 95, axis=1).tolist()
        return without, along

    async def _again(self) -> tuple[float, float]:
        prompt = _tokens(self.long)
        return await self._first_token(prompt), await self._first_token(prompt)

    async def _arrival(self) -> tuple[float, float]:
        """Return the median gap of steady streams' tokens, and its 99th percentile while a prompt arrives."""
        http = HttpClient(HOST, self.running.ports.http)
        questions = Questions(self.running.model, logprobs=0, max_tokens=1024)
        load = Load(http, questions, Work(_PATIENCE, clients=_STREAMS))
        streams = asyncio.create_task(load.run())
        async with asyncio.timeout(_PATIENCE):
            while sum(bool(answer.events) for answer in load.answers) < _STREAMS:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        steady = perf_counter()
        await asyncio.sleep(_STEADY)
        arrived = perf_counter()
        first = arrived + await self._first_token(_tokens(self.long))
        streams.cancel()
        await asyncio.wait([streams])
        starts, ends = np.concatenate([_gaps(answer, http) for answer in load.answers], axis=1)
        before = (ends - starts)[(steady <= starts) & (ends <= arrived)]
        during = (ends - starts)[(arrived < ends) & (starts < first)]
        assert min(before.size, during.size), "the streams had no tokens"
        return float(np.median(before)), float(np.percentile(during, 99))

    async def _first_token(self, prompt: list[int], n: int = 1) -> float:
        """Return the seconds until a request's first event, once all of it is over."""
        fields = {"model": self.running.model, "prompt": prompt, "max_tokens": 8, "n": n, "stream": True}
        http, began = HttpClient(HOST, self.running.ports.http), perf_counter()
        async with asyncio.timeout(_PATIENCE):
            arrivals = [perf_counter() async for _ in http.events(fields | SAMPLING)]
        return arrivals[0] - began


def _tokens(count: int) -> list[int]:
    return random.choices(_ORDINARY, k=count)  # noqa: S311 - not for secrets, and never the same


def _gaps(answer: Answer, http: HttpClient) -> np.ndarray:
    """Return when the gap before each token begins and ends, of shape [2, tokens after the first event].

    A character of several tokens is one event, and comes after as many steps; log-probabilities say how many.
    """
    choices = [(at, choice) for at, event in answer.events for choice in http.read(event)["choices"]]
    came = [(at, count) for at, choice in choices if (count := len(choice["logprobs"]["tokens"]))]
    if not came:
        return np.empty((2, 0))
    times, tokens = zip(*came, strict=True)
    steps = np.cumsum(tokens)
    each_token = np.interp(np.arange(steps[0], steps[-1] + 1), steps, times)
    return np.stack([each_token[:-1], each_token[1:]])
