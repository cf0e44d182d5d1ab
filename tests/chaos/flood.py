"""Floods a server: with more requests at once than it takes, and with connections that do nothing.

Everything runs on loopback, the clients in this process and a checker of health in another.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.machine import describe
from benchmarks.remote import Remote
from benchmarks.report import Table, write_json
from benchmarks.servers import HOST, OURS, SERVERS, Setting, running
from engine.models.names import locate

if TYPE_CHECKING:
    from collections.abc import Sequence

_FOLDER = Path(__file__).parents[2] / "build" / "chaos"
_MODEL = "smollm2-135m-instruct"
_POLITE_REQUESTS = 60
_HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

FLOOD = Table({"flood": "<44", "n": ">7,d", "p50, ms": ">10.1f", "p99, ms": ">10.1f", "most, ms": ">10.1f"})

say = partial(print, flush=True)


class Times(NamedTuple):
    """Some durations in milliseconds."""

    n: int
    p50: float
    p99: float
    most: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Times:
        if not seconds:
            return cls(0, 0.0, 0.0, 0.0)
        return cls(len(seconds), *(float(p) * 1e3 for p in np.percentile(seconds, (50, 99, 100))))


class HealthChecker:
    """Asks for ``/health`` again and again, over a new connection each time."""

    def __init__(self, port: int) -> None:
        self._port = port

    def check(self, seconds: float) -> list[float]:
        """Return how long each check took, of those that began within so many seconds."""
        return asyncio.run(self._check(perf_counter() + seconds))

    async def _check(self, until: float) -> list[float]:
        spent = []
        while (began := perf_counter()) < until:
            head = await ask(
                self._port, b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            )
            assert head.startswith(b"HTTP/1.1 200")
            spent.append(perf_counter() - began)
            await asyncio.sleep(0.02)
        return spent


async def ask(port: int, request: bytes) -> bytes:
    """Send a request, and return the head of its answer when all of it is there."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(request)
        return (await reader.read()).partition(b"\r\n\r\n")[0]
    finally:
        writer.close()


def request_of(model: str, max_tokens: int) -> bytes:
    fields = {"model": model, "prompt": "The capital of France is", "max_tokens": max_tokens, "seed": 1}
    body = json.dumps(fields).encode()
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def flood(port: int, model: str, n: int) -> tuple[Counter[str], Times]:
    """Send ``n`` requests at once; return what became of them, and the server's own time of its refusals."""
    statuses: Counter[str] = Counter()
    refusals: list[float] = []

    async def one() -> None:
        try:
            head = (await ask(port, request_of(model, 1))).decode()
        except OSError as error:
            statuses[type(error).__name__] += 1
            return
        status = head.split(" ", 2)[1] if head else "nothing"
        statuses[status] += 1
        if status == "429":
            assert "retry-after: 1" in head.lower()
            refusals.append(float(head.lower().partition("openai-processing-ms: ")[2].split()[0]) / 1e3)

    await asyncio.gather(*(one() for _ in range(n)))
    return statuses, Times.of(refusals)


async def ask_politely(port: int, model: str) -> Times:
    """Ask one thing after the other; return how long each took."""
    spent = []
    for _ in range(_POLITE_REQUESTS):
        began = perf_counter()
        assert (await ask(port, request_of(model, 4))).startswith(b"HTTP/1.1 200")
        spent.append(perf_counter() - began)
    return Times.of(spent)


async def beside_idle(port: int, model: str, n: int) -> tuple[Times, Times]:
    """Return how long a polite client waits alone, and beside ``n`` connections of which half trickle."""
    alone = await ask_politely(port, model)
    idle = [await asyncio.open_connection(HOST, port) for _ in range(n)]

    async def trickle() -> None:
        for number in range(1000):
            for _, writer in idle[::2]:
                if not writer.is_closing():  # the server has an end for it
                    writer.write(b"X-%d: 1\r\n" % number if number else b"POST /v1/completions HTTP/1.1\r\n")
            await asyncio.sleep(0.5)

    trickling = asyncio.create_task(trickle())
    beside = await ask_politely(port, model)
    trickling.cancel()
    for _, writer in idle:
        writer.close()
    return alone, beside


def main() -> None:
    """Flood a server, and end with status 1 if a request is lost."""
    parser = argparse.ArgumentParser(prog="make flood", description=__doc__)
    parser.add_argument("--requests", type=int, default=3000, help="at once (default: 3000)")
    parser.add_argument("--idle", type=int, default=1000, help="connections that do nothing (default: 1000)")
    asked = parser.parse_args()
    _FOLDER.mkdir(parents=True, exist_ok=True)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    (ours,) = (server for server in SERVERS if server.name == OURS)
    with running(ours, Setting(locate(_MODEL).path, slots=16), _FOLDER / "flood.log") as server:
        port = server.ports.http
        alone, beside = asyncio.run(beside_idle(port, server.model, asked.idle))
        checker = Remote(HealthChecker, port)
        statuses, refused, health = asyncio.run(_flood_beside(checker, port, server.model, asked.requests))
        checker.close()
    rows = {
        "a polite client alone": alone,
        f"the same beside {asked.idle:,} idle connections": beside,
        "refusals (429), the server's own time": refused,
        "checks of health during the flood": health,
    }
    say(FLOOD.heading, *(FLOOD.line(name, *times) for name, times in rows.items()), sep="\n")
    outcome = ", ".join(f"{count:,} x {status}" for status, count in statuses.items())
    say(f"\n{asked.requests:,} requests at once: {outcome}.")
    content = {"machine": describe(), "statuses": statuses, "ms": {k: t._asdict() for k, t in rows.items()}}
    write_json(_FOLDER / "flood.json", content)
    if set(statuses) - {"200", "429"}:
        sys.exit("Some requests were lost.")


async def _flood_beside(checker: Remote, port: int, model: str, n: int) -> tuple[Counter[str], Times, Times]:
    checking = asyncio.create_task(asyncio.to_thread(checker.call, "check", 20.0))
    await asyncio.sleep(0.5)  # a few checks before the flood
    statuses, refused = await flood(port, model, n)
    return statuses, refused, Times.of(await checking)


if __name__ == "__main__":
    main()
