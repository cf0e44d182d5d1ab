"""Visitors who come over a bad network, and what becomes of their requests."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from time import perf_counter
from typing import TYPE_CHECKING

from tests.chaos.proxy import Proxy
from tests.chaos.questions import WAYS
from tests.chaos.trouble import random_weather
from tests.chaos.visits import Outcome, ask, client_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.servers import Ports
    from tests.chaos.proxy import Sleep
    from tests.chaos.questions import Question, Way

_MOST_AT_ONCE = 3


@dataclass
class Tally:
    """What became of all requests."""

    outcomes: dict[Way, Counter[Outcome]] = field(default_factory=lambda: {way: Counter() for way in WAYS})
    cuts: int = 0
    """Connections that the network cut."""
    faults: list[str] = field(default_factory=list)
    """What was wrong with those that are lost or wrong."""

    def add(self, way: Way, outcome: Outcome, fault: str) -> None:
        """Count one request."""
        self.outcomes[way][outcome] += 1
        if fault:
            self.faults.append(fault)

    def total(self, outcome: Outcome) -> int:
        """Return how many ended so, whichever way they were asked."""
        return sum(counts[outcome] for counts in self.outcomes.values())


class Crowd:
    """Asks a server the same questions again and again.

    Args:
        ports: The server's.
        questions: What is asked, with the right answers.
        seed: Decides who asks what, and the weather.
        tally: Where everything is counted.
        sleep: Waits so many seconds wherever the network is slow.
    """

    def __init__(
        self,
        ports: Ports,
        questions: Sequence[Question],
        seed: int,
        tally: Tally,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._ports, self._questions, self._seed, self._tally = ports, questions, seed, tally
        self._sleep = sleep

    async def visit(self, visitors: int, end: float) -> None:
        """Send visitors until a time of ``perf_counter``; return when the last one has gone."""
        async with asyncio.TaskGroup() as group:
            for number in range(visitors):
                group.create_task(self._visit_until(end, Random(f"{self._seed} {number}")))  # noqa: S311

    async def _visit_until(self, end: float, random: Random) -> None:
        while perf_counter() < end:
            await self.visit_once(random)

    async def visit_once(self, random: Random) -> None:
        """Ask a few questions at once; over gRPC they share a connection."""
        way = random.choice(WAYS)
        questions = random.choices(self._questions, k=random.randint(1, _MOST_AT_ONCE))
        port = self._ports.http if way.startswith("http") else self._ports.grpc
        async with Proxy(port, random_weather(random), self._sleep) as proxy:
            client = client_for(way, proxy.port)
            for outcome, fault in await asyncio.gather(
                *(ask(client, question, way, proxy) for question in questions)
            ):
                self._tally.add(way, outcome, fault)
            await client.close()
        self._tally.cuts += proxy.cuts
