"""A client who comes over a good network, and how long it waits."""

from __future__ import annotations

import asyncio
from itertools import cycle
from math import ceil
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from tests.chaos.questions import WAYS
from tests.chaos.visits import Outcome, ask, client_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.servers import Ports
    from tests.chaos.crowd import Tally
    from tests.chaos.questions import Question

_RETRY_SECONDS = 1.0  # as the server's refusals have it


class Latency(NamedTuple):
    """Seconds that answers took."""

    answers: int
    refused: int
    """Requests that had to be sent again."""
    p50: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float], refused: int = 0) -> Latency:
        """Return the percentiles; of few answers the second is the longest."""
        ordered = sorted(seconds)
        p50, p99 = (ordered[ceil(len(ordered) * share) - 1] for share in (0.5, 0.99))
        return cls(len(ordered), refused, round(p50, 3), round(p99, 3))


async def ask_politely(
    ports: Ports, questions: Sequence[Question], tally: Tally, until: asyncio.Event
) -> Latency:
    """Ask all the questions in turn, each some other way, and begin again until the event.

    A request that is refused is sent again as the refusal says, and its latency is that of the answer.
    """
    seconds: list[float] = []
    refused = 0
    for question, way in zip(cycle(questions), cycle(WAYS)):
        if until.is_set() and len(seconds) >= len(questions):
            return Latency.of(seconds, refused)
        client = client_for(way, ports.http if way.startswith("http") else ports.grpc)
        began = perf_counter()
        outcome, fault = await ask(client, question, way, None)
        while outcome is Outcome.REFUSED:
            refused += 1
            await asyncio.sleep(_RETRY_SECONDS)
            outcome, fault = await ask(client, question, way, None)
        seconds.append(perf_counter() - began)
        tally.add(way, outcome, fault)
        await client.close()
    raise AssertionError("there are always more questions")
