"""Kills workers of SMG one after the other, under load; fails if an answer is lost, late or wrong."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections import Counter
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from random import Random
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, get_args

import aiohttp
import httpx2

from benchmarks.client import CallError, HttpClient
from benchmarks.gateways import smg
from benchmarks.machine import describe
from benchmarks.report import Table, write_json
from benchmarks.servers import HOST, ServerError
from engine.client.http import HttpClient as ResumingClient
from engine.errors import EngineError
from tests.chaos.questions import Question, seeded_requests
from tests.process import MODEL
from tests.scale.workers import Worker, start_all

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

    from benchmarks.client import Fields
    from benchmarks.gateways import Gateway

Way = Literal["http", "http stream", "resumed"]
"""The last is a stream of one choice, by a client that goes on elsewhere where it breaks."""
_FOLDER = Path(__file__).parents[2] / "build" / "scale"
_WORKERS = 3
_CLIENTS = 8
_WAYS: tuple[Way, ...] = get_args(Way)
_QUESTIONS = 40
_PATIENCE_SECONDS = 120.0
_SECONDS_PER_REQUEST = 0.5  # of two cores, kills included

say = partial(print, flush=True)


class Outcome(StrEnum):
    """What became of a request; only the first two may be."""

    ANSWERED = "answered"
    """The answer came as a whole, and is that of a worker which nobody else asks."""
    TOLD = "told"
    """A stream that had begun was broken off, and its client was told; what came before is right."""
    LOST = "lost"
    """An error although no token had been sent."""
    HUNG = "hung"
    """Nothing within the client's patience."""
    WRONG = "wrong"
    """Another answer."""


_ROWS = Table({"way": "<12", "asked": ">8d"} | {str(outcome): ">10d" for outcome in Outcome})


@dataclass
class Found:
    """What a run found."""

    outcomes: dict[Way, Counter[Outcome]] = field(
        default_factory=lambda: {way: Counter() for way in get_args(Way)}
    )
    kills: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)
    """What was wrong with those that are lost, hung or wrong."""

    def total(self, outcome: Outcome) -> int:
        """Return how many ended so."""
        return sum(counts[outcome] for counts in self.outcomes.values())

    @property
    def checks(self) -> dict[str, bool]:
        """What must hold, and whether it does."""
        return {
            "no request is lost": not self.total(Outcome.LOST),
            "no request hangs": not self.total(Outcome.HUNG),
            "no answer is wrong": not self.total(Outcome.WRONG),
            "what is resumed has an answer": not self.outcomes["resumed"][Outcome.TOLD],
            "some workers were killed": self.kills > 0,
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Make one run; return its exit status: 1 unless everything holds."""
    parser = argparse.ArgumentParser(prog="python -m tests.scale.faults", description=__doc__)
    parser.add_argument("--requests", type=int, default=1000, help="how many to ask (default: 1000)")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two kills (default: 5)")
    parser.add_argument("--seed", type=int, default=1, help="decides what is asked, and how (default: 1)")
    asked = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever stops it stops the workers too
    say(f"This takes about {asked.requests * _SECONDS_PER_REQUEST / 60 + 1:.0f} minutes on two quiet cores.")
    _FOLDER.mkdir(parents=True, exist_ok=True)
    workers = [
        Worker("--parallel", 4, "--ctx-size", 4096, log=_FOLDER / f"worker-{number}.log")
        for number in range(_WORKERS)
    ]
    try:
        with ExitStack() as stack:
            for worker in workers:
                stack.callback(worker.close)
            start_all(workers)
            options = ("--policy", "cache_aware")
            gateway = stack.enter_context(smg([each.url for each in workers], _FOLDER / "smg.log", *options))
            found = asyncio.run(run(workers, gateway, asked.requests, asked.every, asked.seed))
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1
    _print(found)
    write_json(_FOLDER / "faults.json", _content(found) | vars(asked))
    return 0 if all(found.checks.values()) else 1


async def run(workers: list[Worker], gateway: Gateway, requests: int, every: float, seed: int) -> Found:
    """Learn the answers of one worker alone, then ask the gateway while workers are killed."""
    alone, found = HttpClient(HOST, workers[0].port), Found()
    requested = [fields | {"return_token_ids": True} for fields in seeded_requests(MODEL, _QUESTIONS, seed)]
    questions = [await Question.ask(alone, fields) for fields in requested]
    waiting = iter(asked_of(questions, requests, seed))
    began = perf_counter()
    killing = asyncio.create_task(_kill_in_turn(workers, gateway, every, found))
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(_CLIENTS):
                group.create_task(ask_on(gateway.port, waiting, found))
    finally:
        killing.cancel()
        await asyncio.gather(killing, return_exceptions=True)
    found.seconds = perf_counter() - began
    return found


def asked_of(questions: Sequence[Question], requests: int, seed: int) -> list[tuple[Question, Way]]:
    """Return every question again and again, each time in some way."""
    random = Random(seed)  # noqa: S311 - not for secrets
    asked = [(question, random.choice(_WAYS)) for question in islice(cycle(questions), requests)]
    single = [question for question in questions if question.fields["n"] == 1]
    return [(random.choice(single) if way == "resumed" else question, way) for question, way in asked]


async def ask_on(port: int, waiting: Iterator[tuple[Question, Way]], found: Found) -> None:
    """Ask one question after the other, and note what became of each."""
    async with ResumingClient(f"http://{HOST}:{port}") as resuming:
        for question, way in waiting:
            events = _events(port, resuming, question, way)
            outcome, fault = await judge(events, question, way)
            found.outcomes[way][outcome] += 1
            if fault:
                found.faults.append(f"{way}: {fault}")


async def _events(
    port: int, resuming: ResumingClient, question: Question, way: Way
) -> AsyncGenerator[Fields, None]:
    if way == "resumed":
        async with aclosing(resuming.stream(**question.fields_for("http stream"))) as chunks:
            async for chunk in chunks:
                yield chunk
        return
    client = HttpClient(HOST, port)
    async with aclosing(client.events(question.fields_for(way))) as events:
        async for event in events:
            yield client.read(event)


async def judge(events: AsyncGenerator[Fields, None], question: Question, way: Way) -> tuple[Outcome, str]:
    """Read an answer; return what became of it, and what was wrong."""
    came: list[Fields] = []
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS), aclosing(events):
            async for event in events:
                came.append(event)  # noqa: PERF401 - what came before an error counts, too
    except TimeoutError:
        return Outcome.HUNG, f"nothing after {_PATIENCE_SECONDS:g} s, behind {came}"
    except (CallError, EngineError, OSError, aiohttp.ClientError, httpx2.TransportError) as error:
        if not question.may_begin_with(came):
            return Outcome.WRONG, f"{came} in answer to {question}"
        if way != "http" and came:
            return Outcome.TOLD, ""
        return Outcome.LOST, f"{type(error).__name__}: {error}"
    if question.is_answered_by(came):
        return Outcome.ANSWERED, ""
    return Outcome.WRONG, f"{came} in answer to {question}"


async def _kill_in_turn(workers: list[Worker], gateway: Gateway, every: float, found: Found) -> None:
    """Kill a worker every so many seconds, and start it again at once; never the last one."""
    for worker in cycle(workers):
        began = perf_counter()
        await asyncio.to_thread(worker.kill)
        found.kills += 1
        await asyncio.to_thread(worker.start)
        await asyncio.to_thread(gateway.wait_until_ready, [each.url for each in workers])
        await asyncio.sleep(max(0.0, every - (perf_counter() - began)))


def _print(found: Found) -> None:
    say(_ROWS.heading)
    for way, counts in found.outcomes.items():
        say(_ROWS.line(way, counts.total(), *(counts[outcome] for outcome in Outcome)))
    total = sum(counts.total() for counts in found.outcomes.values())
    say(_ROWS.line("all", total, *map(found.total, Outcome)))
    say(f"\n{found.kills} times a worker was killed, in {found.seconds:.0f} s.\n")
    for what, holds in found.checks.items():
        say(f"{'ok    ' if holds else 'FAILED'} {what}")
    for fault in found.faults[:5]:
        say(f"  {fault:.500}")


def _content(found: Found) -> dict[str, Any]:
    return {
        "holds": all(found.checks.values()),
        "machine": describe(),
        "checks": found.checks,
        "outcomes": found.outcomes,
        "kills": found.kills,
        "seconds": round(found.seconds, 1),
        "faults": found.faults,
    }


if __name__ == "__main__":
    sys.exit(main())
