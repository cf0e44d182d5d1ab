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
from typing import TYPE_CHECKING

import psutil

from benchmarks.machine import describe
from benchmarks.remote import Remote, RemoteError
from benchmarks.report import Table, write_json
from benchmarks.servers import serving
from benchmarks.soak.checks import checks_of_clients, checks_of_idle, checks_of_server
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
_LONGEST_WARM_UP = 300.0  # seconds; in a shorter run it is a sixth
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

Sample = dict[str, float]

say = partial(print, flush=True)


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
    except (EngineError, RemoteError) as error:
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
                tallies, first_error = await asking
            idle = await checks_of_idle(service, scheduler)
    warm_up = min(_LONGEST_WARM_UP, samples[-1]["seconds"] / 6)
    warm = [sample for sample in samples if sample["seconds"] >= warm_up]
    checks = [
        *checks_of_clients(tallies, first_error, decisions),
        *idle,
        *checks_of_server(logged.buffer, [sample["rss_mib"] for sample in warm]),
    ]
    _print(tallies, warm, checks)
    holds = all(check.holds for check in checks)
    content = {
        "holds": holds,
        "machine": describe(),
        "checks": [check._asdict() for check in checks],
        "requests": tallies,
        "scheduler": decisions,
        "samples": samples,
    }
    write_json(_RESULTS, content)
    return holds


def _print(tallies: Tallies, warm: Sequence[Sample], checks: Sequence[Check]) -> None:
    say("", _DOORS.heading, sep="\n")
    for door, tally in tallies.items():
        say(_DOORS.line(door, *(tally[column] for column in (*OUTCOMES, "tokens"))))
    say("", _MEMORY.heading, sep="\n")
    hours = [sample["seconds"] / 3600 for sample in warm]
    say(_MEMORY.line("RSS, MiB", *_trend(hours, [sample["rss_mib"] for sample in warm])))
    say(_MEMORY.line("blocks", *_trend(hours, [sample["blocks"] for sample in warm])))
    say()
    for what, holds, found in checks:
        say(f"{'ok    ' if holds else 'FAILED'} {what}: {found}")


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
    """Take a sample every few seconds while the clients ask; print one a minute.

    All numbers are read from the event loop while the engine thread works on. ``blocks`` are those of
    Python's own allocator, ``cells`` those that running sequences and saved prefixes use.
    """
    say(_SAMPLES.heading)
    samples: list[Sample] = []
    began, next_line = perf_counter(), _LINE_SECONDS
    while not asking.done():
        sample = {
            "seconds": round(perf_counter() - began, 2),
            "rss_mib": round(psutil.Process().memory_info().rss / 2**20, 3),
            "blocks": sys.getallocatedblocks(),
            "running": scheduler.n_running,
            "waiting": scheduler.n_waiting,
            "cells": scheduler.slots.used_cells,
            "preempted": decisions["preempted"],
        }
        samples.append(sample)
        if sample["seconds"] >= next_line:
            say(_SAMPLES.line(sample["seconds"] / 60, *list(sample.values())[1:]))
            next_line += _LINE_SECONDS
        await asyncio.wait((asking,), timeout=_SAMPLE_SECONDS)
    return samples


def _trend(hours: Sequence[float], values: Sequence[float]) -> tuple[float, float, float, float]:
    """Return the first value, the last, the most, and the slope of a line through all of them."""
    slope = linear_regression(hours, values).slope if len(values) > 1 else 0.0
    return values[0], values[-1], max(values), slope


if __name__ == "__main__":
    main()
