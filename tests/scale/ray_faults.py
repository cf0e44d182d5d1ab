"""Kills, updates and scales replicas of Ray Serve under load; fails if an answer is lost, late or wrong."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from benchmarks.client import HttpClient
from benchmarks.machine import describe
from benchmarks.ray_cluster import HAPROXY, RayCluster, ray_cluster
from benchmarks.report import write_json
from benchmarks.servers import HOST, ServerError
from tests.chaos.questions import Question, seeded_requests
from tests.process import MODEL
from tests.scale.faults import Found, Outcome, ask_on, asked_of, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.scale.faults import Way

_FOLDER = Path(__file__).parents[2] / "build" / "scale"
_DEPLOYMENT = f"model-{MODEL}"
_REPLICAS, _CLIENTS, _QUESTIONS = 2, 8, 40
_GRACE_SECONDS = 60.0
_SECONDS_PER_REQUEST = 0.5  # of two cores, kills included


def main(arguments: Sequence[str] | None = None) -> int:
    """Make one run; return its exit status: 1 unless everything holds."""
    parser = argparse.ArgumentParser(prog="python -m tests.scale.ray_faults", description=__doc__)
    parser.add_argument("--requests", type=int, default=1000, help="while replicas die (default: 1000)")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two kills (default: 5)")
    parser.add_argument("--seed", type=int, default=1, help="decides what is asked, and how (default: 1)")
    parser.add_argument(
        "--haproxy", action="store_true", help="no router of ours, and Serve's HAProxy in place of its proxy"
    )
    asked = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever stops it stops the cluster too
    say(f"This takes about {asked.requests * _SECONDS_PER_REQUEST / 60 + 3:.0f} minutes on two quiet cores.")
    _FOLDER.mkdir(parents=True, exist_ok=True)
    environment = HAPROXY if asked.haproxy else {}
    try:
        with ray_cluster(log=_FOLDER / "ray.log", environment=environment, cores=3) as cluster:
            found = asyncio.run(run(cluster, asked.requests, asked.every, asked.seed, haproxy=asked.haproxy))
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1
    for name, part in found.items():
        tell(name, part)
    content = {name: {"checks": part.checks, "outcomes": part.outcomes} for name, part in found.items()}
    write_json(_FOLDER / "ray_faults.json", {"machine": describe(), "found": content} | vars(asked))
    return 0 if all(holds for part in found.values() for holds in part.checks.values()) else 1


async def run(
    cluster: RayCluster, requests: int, every: float, seed: int, *, haproxy: bool
) -> dict[str, Found]:
    """Learn the right answers, then ask on while replicas are killed, and while they change."""

    def options(**more: Any) -> dict[str, Any]:
        small = {"parallel": 4, "ctx_size": 4096, "cores": 0.5, "shutdown_grace": _GRACE_SECONDS}
        router = "off" if haproxy else "on"
        return {"model": MODEL, "replicas": _REPLICAS, "router": router} | small | more

    await asyncio.to_thread(cluster.deploy, **options())
    alone = HttpClient(HOST, cluster.http)
    requested = [fields | {"return_token_ids": True} for fields in seeded_requests(MODEL, _QUESTIONS, seed)]
    questions = [await Question.ask(alone, fields) for fields in requested]
    killed = Found()
    killing = asyncio.create_task(_kill_in_turn(cluster, every, killed))
    await _ask_all(cluster.http, iter(asked_of(questions, requests, seed)), killed)
    killing.cancel()
    await asyncio.gather(killing, return_exceptions=True)
    await asyncio.to_thread(cluster.wait_for, _DEPLOYMENT, _REPLICAS)
    changed = Found(kills=1)  # nobody kills; the check is for the others
    steps = (options(max_logprobs=6), options(max_logprobs=6, replicas=_REPLICAS + 1), options())
    changing = asyncio.create_task(asyncio.to_thread(_deploy_all, cluster, steps))
    await _ask_all(cluster.http, _until(changing, questions, seed), changed)
    await changing
    return {"replicas are killed": killed, "replicas are updated, added and ended": changed}


def _deploy_all(cluster: RayCluster, steps: Sequence[dict[str, Any]]) -> None:
    for options in steps:
        cluster.deploy(**options)


async def _ask_all(port: int, waiting: Iterator[tuple[Question, Way]], found: Found) -> None:
    began = perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(_CLIENTS):
            group.create_task(ask_on(port, waiting, found))
    found.seconds += perf_counter() - began


def _until(
    task: asyncio.Task[None], questions: Sequence[Question], seed: int
) -> Iterator[tuple[Question, Way]]:
    """Yield questions until a task is done."""
    for number in count():
        for asked in asked_of(questions, len(questions), seed + number):
            if task.done():
                return
            yield asked


async def _kill_in_turn(cluster: RayCluster, every: float, found: Found) -> None:
    """Kill a replica every so many seconds; never the last one: Serve has started another before the next."""
    while True:
        began = perf_counter()
        pids = await asyncio.to_thread(cluster.pids, _DEPLOYMENT)
        os.kill(victim := min(pids), signal.SIGKILL)
        found.kills += 1
        await asyncio.to_thread(cluster.wait_for, _DEPLOYMENT, _REPLICAS, but={victim})
        await asyncio.sleep(max(0.0, every - (perf_counter() - began)))


def tell(name: str, found: Found) -> None:
    """Print what became of the requests of one part."""
    total = sum(counts.total() for counts in found.outcomes.values())
    ends = ", ".join(f"{found.total(outcome)} {outcome}" for outcome in Outcome)
    say(f"\nWhile {name}: {total} requests in {found.seconds:.0f} s, {found.kills} kills: {ends}.")
    for what, holds in found.checks.items():
        say(f"{'ok    ' if holds else 'FAILED'} {what}")
    for fault in found.faults[:5]:
        say(f"  {fault:.500}")


if __name__ == "__main__":
    sys.exit(main())
