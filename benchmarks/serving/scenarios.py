"""What our own server alone does with prompts that are long, shared, or seen before; over HTTP.

Prompts are random token ids, so their lengths are exact, and no prefix cache has seen one that it should not.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.client import CallError, HttpClient
from benchmarks.machine import Elsewhere
from benchmarks.prompts import SAMPLING, Questions
from benchmarks.servers import HOST
from benchmarks.serving.load import Reply
from benchmarks.serving.results import Pair, Scenario

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from benchmarks.servers import Running

CONTEXT = 20_480
"""Tokens of KV cache that the scenarios need: eight prompts of 2,000 that share nothing."""

_ORDINARY = range(1000, 30_000)  # ids that are text in the vocabularies of all the models
_ANSWER = 8  # tokens; only the first is waited for
_TAIL = 16  # tokens in which prompts with a shared prefix differ
_TOGETHER = 8
_STREAMS = 4
_STREAM_TOKENS = 256
_PATIENCE = 300.0  # seconds that one request may take
_PREFILL_SECONDS = 0.0055  # for each token of a prompt


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of it is done."""

    medium: int = 1000
    """Tokens of the prompt that has several answers."""
    long: int = 2000
    """Tokens of the other prompts."""
    rounds: int = 2
    steady: float = 5.0
    """Seconds in which the streams are alone, in each round."""

    def expected_seconds(self) -> float:
        """Return about how long it takes, on the machine of docs/performance.md."""
        tokens = self.rounds * 2 * (self.medium + self.long) + (_TOGETHER + 1) * self.long
        return tokens * _PREFILL_SECONDS + self.rounds * 2 * self.steady


QUICK = Scale(medium=250, long=500, rounds=1, steady=2.0)


class _Gap(NamedTuple):
    """Between one token and the next, in seconds of ``perf_counter``."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


class Scenarios:
    """The scenarios on one running server.

    Args:
        running: Ours, with :data:`CONTEXT` tokens of cache and as many slots as there are requests at once.
        model: The model's name in the table.
        scale: How long and how often.
    """

    def __init__(self, running: Running, model: str, scale: Scale) -> None:
        self._served, self._pid = running.model, running.pid
        self._model = model
        self._scale = scale
        self._http = HttpClient(HOST, running.ports.http)
        self._random = random.Random()  # noqa: S311 - not for secrets, and never the same

    async def run(self, found: list[Scenario]) -> None:
        """Run all of them, and add each when it ends.

        Raises:
            CallError: the server refused a request, or gave nothing to measure.
            OSError: it cannot be reached, or took too long.
        """
        medium, long, rounds = self._scale.medium, self._scale.long, self._scale.rounds
        await self._first_token(self._tokens(_TAIL))  # to warm up
        for title, goal, round_of, count in (
            (f"(a) TTFT, {medium} tokens, n=8 against n=1", 1.05, self._choices, rounds),
            (f"(b) TTFT p95, {_TOGETHER} at once share {long} tokens", 0.25, self._shared, 1),  # minutes each
            (f"(c) TTFT, {long} tokens, warm against cold", 0.05, self._again, rounds),
            (
                f"(d) ITL p99 of {_STREAMS} streams while {long} tokens arrive, against p50",
                3.0,
                self._arrival,
                rounds,
            ),
        ):
            pairs = [await self._pair(round_of) for _ in range(count)]
            found.append(Scenario(self._model, title, goal, pairs))

    async def _pair(self, round_of: Callable[[], Awaitable[tuple[float, float]]]) -> Pair:
        elsewhere = Elsewhere(self._pid)
        without, along = await round_of()
        return Pair(without * 1e3, along * 1e3, elsewhere.processors())

    async def _choices(self) -> tuple[float, float]:
        one = await self._first_token(self._tokens(self._scale.medium))
        return one, await self._first_token(self._tokens(self._scale.medium), n=8)

    async def _shared(self) -> tuple[float, float]:
        long = self._scale.long
        unshared = [self._tokens(long + _TAIL) for _ in range(_TOGETHER)]
        prefix = self._tokens(long)
        shared = [prefix + self._tokens(_TAIL) for _ in range(_TOGETHER)]
        return await self._p95(unshared), await self._p95(shared)

    async def _again(self) -> tuple[float, float]:
        prompt = self._tokens(self._scale.long)
        return await self._first_token(prompt), await self._first_token(prompt)

    async def _arrival(self) -> tuple[float, float]:
        """Return the median gap of steady streams' tokens, and its 99th percentile while a prompt arrives."""
        replies: list[Reply] = []
        streams = [asyncio.create_task(self._stream_on(replies)) for _ in range(_STREAMS)]
        try:
            while sum(bool(reply.arrivals) for reply in replies) < _STREAMS:
                await _let_flow(streams, 0.05)
            steady = perf_counter()
            await _let_flow(streams, self._scale.steady)
            arrived = perf_counter()
            first = arrived + await self._first_token(self._tokens(self._scale.long))
        finally:
            for stream in streams:
                stream.cancel()
            await asyncio.gather(*streams, return_exceptions=True)
        gaps = [gap for reply in replies for gap in self._gaps(reply)]
        before = [gap.seconds for gap in gaps if steady <= gap.start and gap.end <= arrived]
        during = [gap.seconds for gap in gaps if arrived < gap.end and gap.start < first]
        if not before or not during:
            raise CallError("the streams had no tokens")
        return float(np.median(before)), float(np.percentile(during, 99))

    async def _stream_on(self, replies: list[Reply]) -> None:
        questions = Questions(self._served)
        while True:
            replies.append(Reply(perf_counter(), _STREAM_TOKENS))
            fields = {**questions.next(), "max_tokens": _STREAM_TOKENS, "logprobs": 0}
            await replies[-1].listen(self._http, fields)

    async def _p95(self, prompts: Sequence[list[int]]) -> float:
        return float(np.percentile(await asyncio.gather(*map(self._first_token, prompts)), 95))

    async def _first_token(self, prompt: list[int], n: int = 1) -> float:
        """Return the seconds until a request's first event, once all of it is over."""
        fields: dict[str, Any] = {"model": self._served, "prompt": prompt, "max_tokens": _ANSWER, "n": n}
        reply = Reply(perf_counter(), _ANSWER)
        async with asyncio.timeout(_PATIENCE):
            await reply.listen(self._http, fields | SAMPLING | {"stream": True})
        if not reply.arrivals:
            raise CallError("a stream without an event")
        return reply.arrivals[0][0] - reply.began

    def _tokens(self, count: int) -> list[int]:
        return self._random.choices(_ORDINARY, k=count)

    def _gaps(self, reply: Reply) -> Iterator[_Gap]:
        """Yield a gap for each token but those of the first event.

        A character of several tokens is one event, and comes after as many steps.
        Log-probabilities tell how many.
        """
        last = None
        for at, event in reply.arrivals:
            choices = self._http.read(event)["choices"]
            tokens = sum(len(choice["logprobs"]["tokens"]) for choice in choices)
            if tokens and last is not None:
                step = (at - last) / tokens
                yield from (_Gap(last + i * step, last + (i + 1) * step) for i in range(tokens))
            if tokens:
                last = at


async def _let_flow(streams: Sequence[asyncio.Task[None]], seconds: float) -> None:
    """Wait, and raise what ends a stream meanwhile."""
    ended, _ = await asyncio.wait(streams, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for stream in ended:
        stream.result()
