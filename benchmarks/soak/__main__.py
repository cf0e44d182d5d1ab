"""Serves sixteen clients who ask, share and leave at random, and fails if anything grows or is lost."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections import Counter
from contextlib import closing
from functools import partial
from logging.handlers import BufferingHandler
from pathlib import Path
from statistics import linear_regression
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import psutil

from benchmarks.machine import describe
from benchmarks.remote import Remote, RemoteError
from benchmarks.report import Table, write_json
from benchmarks.servers import serving
from benchmarks.soak.checks import check_of_log, check_of_memory, checks_of_clients, checks_of_idle
from benchmarks.soak.clients import OUTCOMES, Crowd
from engine.errors import EngineError
from engine.kvcache.operations import Copy, Drop, Restore
from engine.loading.launch import launch
from engine.loading.options import EngineOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.soak.checks import Check
    from benchmarks.soak.clients import Tallies
    from engine.core.plan import Plan
    from engine.core.scheduler import Scheduler

_RESULTS = Path(__file__).parents[2] / "build" / "soak" / "soak.json"
_SHORTEST = 2.0  # minutes
_SAMPLE_SECONDS = 5.0
_LINE_SECONDS = 60.0
_LONGEST_WARM_UP = 300.0  # seconds
_WARM_UP_SHARE = 1 / 6  # of a run that is shorter than six times that
_DECISIONS: dict[type, str] = {Copy: "shared", Restore: "restored", Drop: "dropped"}

_SAMPLES = Table(
    {"minute": ">6.1f", "RSS, MiB": ">10.1f", "blocks": ">10,d", "running": ">9d", "waiting": ">9d"}
    | {"cells": ">7d", "preempted": ">11d"}
)
_DOORS = Table(
    {"door": "<6", "completed": ">11d", "cancelled": ">11d", "refused": ">9d", "errors": ">8d"}
    | {"tokens": ">10,d"}
)
_MEMORY = Table(
    {"memory": "<10", "warm": ">10,.1f", "end": ">10,.1f", "most": ">10,.1f", "an hour": ">+12,.1f"}
)

say = partial(print, flush=True)


class Sample(NamedTuple):
    """Some numbers, all read from the event loop while the engine thread works on."""

    seconds: float
    """Since the clients began."""
    rss_mib: float
    blocks: int
    """Blocks of memory that Python's own allocator has given out."""
    running: int
    waiting: int
    cells: int
    """Cells of the KV cache in use, by running sequences and by saved prefixes."""
    preempted: int
    """Sequences that have lost their slot so far."""


class Trend(NamedTuple):
    """How a number went after the warm-up."""

    warm: float
    end: float
    most: float
    an_hour: float
    """Slope of a line through all samples."""


def main() -> None:
    """Make one run, and end with status 1 unless everything holds."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long to ask (default: 30)")
    parser.add_argument("--seed", type=int, default=1, help="decides what is asked (default: 1)")
    parser.add_argument(
        "--threads", type=int, help="of llama.cpp; 1 suits a machine that has other work to do"
    )
    asked = parser.parse_args()
    if asked.minutes < _SHORTEST:
        parser.error(f"--minutes should be at least {_SHORTEST:.0f}, or memory is still warming up")
    options = EngineOptions(model="smollm2-135m-instruct", parallel=8, ctx_size=1536, threads=asked.threads)
    try:
        holds = asyncio.run(_run(options, asked.minutes * 60, asked.seed))
    except EngineError as error:
        sys.exit(str(error))
    if not holds:
        sys.exit("The run does not hold.")


async def _run(options: EngineOptions, seconds: float, seed: int) -> bool:
    """Serve, let the clients ask, print and write what is found; return True if everything holds."""
    logged = BufferingHandler(sys.maxsize)
    logged.setLevel(logging.ERROR)
    logging.getLogger().addHandler(logged)
    launched = await asyncio.to_thread(launch, options)
    with closing(launched.service) as service:
        scheduler = service.engine._steps.scheduler
        decisions = _count_decisions(scheduler)
        async with serving(service) as ports:
            with closing(await asyncio.to_thread(Remote, Crowd, ports, service.name, seed)) as crowd:
                asking = asyncio.create_task(asyncio.to_thread(crowd.call, "ask", seconds))
                samples = await _sample_while(asking, scheduler, decisions)
                try:
                    tallies, first_error = await asking
                except RemoteError as error:
                    tallies, first_error = {}, f"the clients ended: {error}"
            idle = await checks_of_idle(service, scheduler)
    checks = [
        *checks_of_clients(tallies, first_error, decisions),
        *idle,
        check_of_log(logged.buffer),
        check_of_memory([sample.rss_mib for sample in _warm(samples)]),
    ]
    _report(checks, tallies, decisions, samples)
    return all(check.holds for check in checks)


def _report(
    checks: Sequence[Check], tallies: Tallies, decisions: Counter[str], samples: Sequence[Sample]
) -> None:
    """Print the tables and the checks, and write all of it."""
    warm = _warm(samples)
    memory = {"RSS, MiB": _trend(warm, "rss_mib"), "blocks": _trend(warm, "blocks")}
    doors = [_DOORS.line(door, *(tally[c] for c in (*OUTCOMES, "tokens"))) for door, tally in tallies.items()]
    sizes = [_MEMORY.line(name, *trend) for name, trend in memory.items()]
    say("", _DOORS.heading, *doors, "", _MEMORY.heading, *sizes, sep="\n")
    say("", *(check.text() for check in checks), sep="\n")
    content = {
        "machine": describe(),
        "checks": [check._asdict() for check in checks],
        "requests": tallies,
        "scheduler": decisions,
        "memory": {name: trend._asdict() for name, trend in memory.items()},
        "samples": [sample._asdict() for sample in samples],
    }
    write_json(_RESULTS, content)


def _count_decisions(scheduler: Scheduler) -> Counter[str]:
    """Count from now on what the plans of all steps say.

    Sequences that lost their slot; prompts that began with what another slot held, or with what the host
    cache had; prefixes that the host cache dropped.
    """
    decisions, plan = Counter(preempted=0, shared=0, restored=0, dropped=0), scheduler.plan

    def counted() -> Plan:
        made = plan()
        decisions["preempted"] += len(made.preempted)
        decisions.update(_DECISIONS[type(one)] for one in made.cache if type(one) in _DECISIONS)
        return made

    scheduler.plan = counted  # type: ignore[method-assign]
    return decisions


async def _sample_while(
    asking: asyncio.Task[object], scheduler: Scheduler, decisions: Counter[str]
) -> list[Sample]:
    """Take a sample every few seconds while the clients ask; print one a minute."""
    say(_SAMPLES.heading)
    samples: list[Sample] = []
    began, next_line = perf_counter(), _LINE_SECONDS
    while not asking.done():
        sample = Sample(
            seconds=round(perf_counter() - began, 2),
            rss_mib=round(psutil.Process().memory_info().rss / 2**20, 3),
            blocks=sys.getallocatedblocks(),
            running=scheduler.n_running,
            waiting=scheduler.n_waiting,
            cells=scheduler.slots.used_cells,
            preempted=decisions["preempted"],
        )
        samples.append(sample)
        if sample.seconds >= next_line:
            say(_SAMPLES.line(sample.seconds / 60, *sample[1:]))
            next_line += _LINE_SECONDS
        await asyncio.wait((asking,), timeout=_SAMPLE_SECONDS)
    return samples


def _warm(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples that came after the warm-up."""
    warm_up = min(_LONGEST_WARM_UP, samples[-1].seconds * _WARM_UP_SHARE)
    return [sample for sample in samples if sample.seconds >= warm_up]


def _trend(samples: Sequence[Sample], field: str) -> Trend:
    hours = [sample.seconds / 3600 for sample in samples]
    values = [getattr(sample, field) for sample in samples]
    slope = linear_regression(hours, values).slope if len(values) > 1 else 0.0
    return Trend(values[0], values[-1], max(values), round(slope, 2))


if __name__ == "__main__":
    main()
