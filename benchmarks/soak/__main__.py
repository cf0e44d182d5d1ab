"""Serves sixteen clients who ask, share and leave at random, and fails if anything grows or is lost."""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from benchmarks.machine import describe
from benchmarks.remote import Remote, RemoteError
from benchmarks.report import Table, write_json
from benchmarks.servers import serving
from benchmarks.soak.checks import ask_once, checks_of_clients, checks_of_idle, checks_of_server
from benchmarks.soak.clients import Crowd
from benchmarks.soak.watch import MEMORY, SAMPLES, STATM, Memory, Watch
from engine.errors import EngineError
from engine.loading.launch import launch
from engine.loading.options import EngineOptions

if TYPE_CHECKING:
    from benchmarks.soak.clients import Tally
    from benchmarks.soak.watch import Sample

_RESULTS = Path(__file__).parents[2] / "build" / "soak" / "soak.json"
_OPTIONS = EngineOptions(model="smollm2-135m-instruct", parallel=8, ctx_size=1536)
_SHORTEST = 2.0  # minutes
_SAMPLE_SECONDS = 5.0
_LINE_SECONDS = 60.0
_DOORS = Table(
    {
        "door": "<6",
        "completed": ">11d",
        "cancelled": ">11d",
        "refused": ">9d",
        "errors": ">8d",
        "tokens": ">10,d",
    }
)

say = partial(print, flush=True)


def main() -> None:
    """Make one run, and end with status 1 unless everything holds."""
    asked = _arguments()
    try:
        holds = asyncio.run(_run(asked.minutes * 60, asked.seed, asked.threads))
    except EngineError as error:
        sys.exit(str(error))
    if not holds:
        sys.exit("The run does not hold.")


async def _run(seconds: float, seed: int, threads: int | None) -> bool:
    """Serve, let the clients ask, print and write what is found; return True if everything holds."""
    options, watch = _OPTIONS.model_copy(update={"threads": threads}), Watch()
    samples: list[Sample] = []
    with watch.watching(), closing((await asyncio.to_thread(launch, options)).service) as service:
        await ask_once(service)
        async with serving(service) as ports:
            crowd = await asyncio.to_thread(Remote, Crowd, ports, service.name, seed)
            with closing(crowd):
                asking = asyncio.create_task(asyncio.to_thread(crowd.call, "ask", seconds))
                await _sample_while(asking, watch, samples)
                tallies = await _tallies(asking)
            idle = await checks_of_idle(service, watch.scheduler)
    memory = Memory.of(samples)
    checks = [
        *checks_of_clients(tallies, watch),
        *idle,
        *checks_of_server(memory, samples, watch),
    ]
    holds = all(check.holds for check in checks)
    content = {
        "holds": holds,
        "machine": describe(),
        "checks": [check._asdict() for check in checks],
        "requests": {door: asdict(tally) for door, tally in tallies.items()},
        "scheduler": watch.decisions,
        "memory": memory and asdict(memory),
        "samples": [asdict(sample) for sample in samples],
    }
    write_json(_RESULTS, content)
    say(f"\n{_DOORS.heading}")
    for door, t in tallies.items():
        say(_DOORS.line(door, t.completed, t.cancelled, t.refused, t.errors, t.completion_tokens))
    say("", MEMORY.heading, *(memory.lines() if memory else ()), "", *(c.text() for c in checks), sep="\n")
    return holds


async def _sample_while(asking: asyncio.Task[object], watch: Watch, samples: list[Sample]) -> None:
    """Take a sample every few seconds while the clients ask; print one a minute."""
    say(SAMPLES.heading)
    began, next_line = perf_counter(), _LINE_SECONDS
    while not asking.done():
        samples.append(taken := watch.sample(perf_counter() - began))
        if taken.seconds >= next_line:
            say(taken.text())
            next_line += _LINE_SECONDS
        await asyncio.wait((asking,), timeout=_SAMPLE_SECONDS)


async def _tallies(asking: asyncio.Task[dict[str, Tally]]) -> dict[str, Tally]:
    try:
        return await asking
    except RemoteError as error:
        say(f"the clients ended: {error}")
        return {}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long to ask (default: 30)")
    parser.add_argument("--seed", type=int, default=1, help="decides what is asked (default: 1)")
    parser.add_argument(
        "--threads", type=int, help="of llama.cpp; 1 suits a machine that has other work to do"
    )
    asked = parser.parse_args()
    if asked.minutes < _SHORTEST:
        parser.error(f"--minutes should be at least {_SHORTEST:.0f}, or memory is still warming up")
    if not STATM.exists():
        parser.error("this system does not tell how much memory a process takes; Linux does, in /proc")
    return asked


if __name__ == "__main__":
    main()
