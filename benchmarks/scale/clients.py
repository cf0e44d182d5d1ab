"""The client program: closed loops, first tokens and conversations, at one port or divided among several."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from contextlib import aclosing
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from typing_extensions import override

from benchmarks.client import HttpClient
from benchmarks.machine import Elsewhere, cpu_seconds
from benchmarks.prompts import PASSAGES, Questions
from benchmarks.servers import HOST
from benchmarks.serving.turn import Load, Turn
from engine.service.event_loop import new_event_loop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from benchmarks.client import Fields
    from benchmarks.serving.turn import Work

_SEED = 7
_REST_SECONDS = 30.0  # in which a server is idle again once its clients have left
_OPENING, _NEXT = 900, 160  # characters of a conversation's first turn, and of what each later one adds
_ANSWER = 24  # tokens


class PlainQuestions(Questions):
    """Those of the other benchmarks, as every gateway takes them: SMG refuses a ``top_k`` of 0."""

    @override
    def next(self) -> dict[str, Any]:
        return {name: value for name, value in super().next().items() if name != "top_k"}


class Divided:
    """An HTTP client of several servers: each request goes to the one that has the fewest of them."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._clients = [HttpClient(HOST, port) for port in ports]
        self._under_way = [0] * len(ports)

    async def events(self, fields: Fields) -> AsyncGenerator[bytes, None]:
        """Yield the events of an answer; see :meth:`benchmarks.client.HttpClient.events`."""
        number = min(range(len(self._clients)), key=self._under_way.__getitem__)
        self._under_way[number] += 1
        try:
            async with aclosing(self._clients[number].events(fields)) as events:
                async for event in events:
                    yield event
        finally:
            self._under_way[number] -= 1

    def read(self, event: bytes) -> Fields:
        """Return an event as the contract's JSON."""
        return self._clients[0].read(event)

    async def close(self) -> None:
        """Nothing stays open between requests."""


class Computed(NamedTuple):
    """The prompt tokens of conversations."""

    prompt_tokens: int
    cached_tokens: int

    @property
    def computed(self) -> int:
        """Those that a model had to compute."""
        return self.prompt_tokens - self.cached_tokens


class Conversation:
    """A text that grows, and what its prompts have come to.

    Args:
        model: The name that the servers answer to.
        number: Decides what is said.
    """

    def __init__(self, model: str, number: int) -> None:
        self.asked = self.cached = 0
        self._fields = {"model": model, "max_tokens": _ANSWER, "seed": number}
        self._draw = random.Random(_SEED + number)  # noqa: S311 - not for secrets
        self._text = f"Conversation {number}.\n"

    async def take_turn(self, client: Divided) -> None:
        """Say something, and hear the answer."""
        passage = self._draw.choice(PASSAGES)
        begin = self._draw.randrange(len(passage) // 2)
        self._text += passage[begin : begin + (_NEXT if self.asked else _OPENING)]
        fields = {**self._fields, "prompt": self._text}
        (answer,) = [client.read(event) async for event in client.events(fields)]
        self.asked += answer["usage"]["prompt_tokens"]
        self.cached += answer["usage"]["prompt_tokens_details"]["cached_tokens"]
        self._text += answer["choices"][0]["text"] + "\n"


class Clients:
    """A program of clients, in a process of its own.

    Args:
        model: The name that the servers answer to.
        ports: Where they, or the gateway in front of them, listen.
        pids: All processes on the other side.
    """

    def __init__(self, model: str, ports: Sequence[int], pids: Sequence[int]) -> None:
        self._runner = asyncio.Runner(loop_factory=new_event_loop)
        self._model, self._ports, self._pids = model, ports, pids

    def perform(self, work: Work) -> Turn:
        """Take a turn of a closed loop, which lasts until all servers are idle again."""
        turn = self._runner.run(self._perform(work))
        gc.collect()
        limit = perf_counter() + _REST_SECONDS
        while turn.cut and perf_counter() < limit:
            before = self._seconds()
            time.sleep(0.3)
            if self._seconds() - before < 0.05:
                break
        return turn

    def first_tokens(self, count: int) -> list[float]:
        """Return the milliseconds to the first token of so many requests, one after the other."""
        return self._runner.run(self._first_tokens(count))

    def converse(self, conversations: int, turns: int) -> Computed:
        """Hold conversations at once, each of so many turns; return what their prompts came to."""
        return self._runner.run(self._converse(conversations, turns))

    async def _perform(self, work: Work) -> Turn:
        client = Divided(self._ports)
        load = Load(client, PlainQuestions(self._model), work)
        elsewhere, cpu = Elsewhere(*self._pids), time.process_time()
        await load.run()
        spent = {"client_cpu_s": time.process_time() - cpu, "elsewhere": elsewhere.processors()}
        for answer in load.answers:
            answer.read(client)
        return Turn.of(load.answers, load.counts_from, load.cut_at, **spent)

    async def _first_tokens(self, count: int) -> list[float]:
        client, found = Divided(self._ports), list[float]()
        fields = {"model": self._model, "prompt": "Hello", "max_tokens": 2, "seed": 1, "stream": True}
        for _ in range(count):
            began = perf_counter()
            arrivals = [perf_counter() async for _ in client.events(fields)]
            found.append((arrivals[0] - began) * 1e3)
        return found

    async def _converse(self, conversations: int, turns: int) -> Computed:
        """Take turn after turn, all conversations at once, each time in another order.

        In one order, a gateway that asks its workers in turn would keep each conversation where it began.
        """
        order, client = random.Random(_SEED), Divided(self._ports)  # noqa: S311 - not for secrets
        held = [Conversation(self._model, number) for number in range(conversations)]
        for _ in range(turns):
            order.shuffle(held)
            await asyncio.gather(*(each.take_turn(client) for each in held))
        return Computed(sum(each.asked for each in held), sum(each.cached for each in held))

    def _seconds(self) -> float:
        return sum(cpu_seconds(pid) or 0.0 for pid in self._pids)
