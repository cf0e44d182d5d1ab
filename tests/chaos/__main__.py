"""Sends clients over a network that stalls, cuts, trickles and splits; fails if one is lost or told wrong."""

from __future__ import annotations

import argparse
import asyncio
import sys
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.client import HttpClient
from benchmarks.machine import describe
from benchmarks.report import Table, write_json
from benchmarks.servers import HOST, ServerError
from engine.errors import EngineError
from tests.chaos.crowd import Crowd, Tally
from tests.chaos.polite import Latency, ask_politely
from tests.chaos.questions import Question, seeded_requests
from tests.chaos.server import Metrics, chaos_server, is_idle, memory_mib, metrics_at_rest
from tests.chaos.visits import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.servers import Running

_FOLDER = Path(__file__).parents[2] / "build" / "chaos"
_VISITORS = 12
_QUESTIONS = 15  # no multiple of the ways, so that the polite client asks each in all ways

_WAYS = Table({"way": "<12", "asked": ">8d"} | {str(outcome): ">10d" for outcome in Outcome})
_LATENCIES = Table(
    {"polite client": "<16", "answers": ">8d", "refused": ">8d", "p50, s": ">8.3f", "p99, s": ">8.3f"}
)

say = partial(print, flush=True)


class Found(NamedTuple):
    """What a run found."""

    tally: Tally
    quiet: Latency
    """Of the polite client alone."""
    beside: Latency
    """The same beside the visitors."""
    memory_mib: tuple[float, float]
    """Of the server, when its first questions were answered and at the end."""
    metrics: Metrics
    """Of the server at the end, at rest."""
    n_logged: int = 0
    """Tracebacks in the server's log."""

    @property
    def checks(self) -> dict[str, bool]:
        """What must hold, and whether it does."""
        return {
            "no request is lost": not self.tally.total(Outcome.LOST),
            "no answer is wrong": not self.tally.total(Outcome.WRONG),
            "some requests are answered": bool(self.tally.total(Outcome.ANSWERED)),
            "every slot and every cell is free": is_idle(self.metrics),
            "nothing is logged as a fault": not self.n_logged,
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Make one run; return its exit status: 1 unless everything holds."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="how long to ask (default: 2)")
    parser.add_argument(
        "--seed", type=int, default=1, help="decides what is asked, and the weather (default: 1)"
    )
    asked = parser.parse_args(arguments)
    _FOLDER.mkdir(parents=True, exist_ok=True)
    log = _FOLDER / "server.log"
    try:
        with chaos_server(log) as server:
            found = asyncio.run(run(server, asked.minutes * 60, asked.seed))
    except (EngineError, ServerError) as error:
        print(error, file=sys.stderr)
        return 1
    logged = log.read_text(encoding="utf-8", errors="replace")
    found = found._replace(n_logged=logged.count("Traceback"))
    _print(found)
    write_json(_FOLDER / "chaos.json", _content(found) | {"seed": asked.seed, "minutes": asked.minutes})
    return 0 if all(found.checks.values()) else 1


async def run(server: Running, seconds: float, seed: int) -> Found:
    """Learn the answers, ask again in bad weather, and look at what is left."""
    ports, tally = server.ports, Tally()
    client = HttpClient(HOST, ports.http)
    questions = [
        await Question.ask(client, fields) for fields in seeded_requests(server.model, _QUESTIONS, seed)
    ]
    quiet = await _ask_quietly(server, questions, tally)
    memory = memory_mib(server.pid)
    crowd, has_gone = Crowd(ports, questions, seed, tally), asyncio.Event()
    polite = asyncio.create_task(ask_politely(ports, questions, tally, has_gone))
    await crowd.visit(_VISITORS, perf_counter() + seconds)
    has_gone.set()
    beside = await polite
    await _ask_quietly(server, questions, tally)
    metrics = await metrics_at_rest(ports)
    return Found(tally, quiet, beside, (memory, memory_mib(server.pid)), metrics)


async def _ask_quietly(server: Running, questions: list[Question], tally: Tally) -> Latency:
    """Ask every question once, alone."""
    at_once = asyncio.Event()
    at_once.set()
    return await ask_politely(server.ports, questions, tally, at_once)


def _print(found: Found) -> None:
    say(_WAYS.heading)
    for way, counts in found.tally.outcomes.items():
        say(_WAYS.line(way, counts.total(), *(counts[outcome] for outcome in Outcome)))
    total = sum(counts.total() for counts in found.tally.outcomes.values())
    say(_WAYS.line("all", total, *map(found.tally.total, Outcome)))
    say(f"\n{_LATENCIES.heading}")
    say(_LATENCIES.line("alone", *found.quiet))
    say(_LATENCIES.line("in the crowd", *found.beside))
    say(f"\n{found.tally.cuts} connections were cut.")
    say("The server's memory: {} MiB at the start, {} MiB at the end.\n".format(*found.memory_mib))
    for what, holds in found.checks.items():
        say(f"{'ok    ' if holds else 'FAILED'} {what}")
    for fault in found.tally.faults[:5]:
        say(f"  {fault:.500}")


def _content(found: Found) -> dict[str, Any]:
    return {
        "holds": all(found.checks.values()),
        "machine": describe(),
        "checks": found.checks,
        "outcomes": found.tally.outcomes,
        "cuts": found.tally.cuts,
        "faults": found.tally.faults,
        "polite": {"alone": found.quiet._asdict(), "in the crowd": found.beside._asdict()},
        "memory_mib": {"start": found.memory_mib[0], "end": found.memory_mib[1]},
        "metrics": found.metrics,
    }


if __name__ == "__main__":
    sys.exit(main())
