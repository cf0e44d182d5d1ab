"""Starts a model's servers, drives them in turns with one client program, and prints what came out.

Every server keeps its own defaults but for what all are given alike: the file, the context, the slots and
the threads. What is in the environment goes to all of them, such as ``GOMP_SPINCOUNT`` on a machine with
neighbours. Ratios are of turns that came one soon after the other.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from dataclasses import replace
from pathlib import Path

from benchmarks.servers import OURS, SERVERS, Setting, running
from benchmarks.serving.measure import Plan, measure, started
from benchmarks.serving.results import RATIOS, ROWS, ModelResults, Ratio, write
from benchmarks.serving.scenarios import CONTEXT, Scenarios
from engine.errors import ModelLoadError
from engine.models.names import locate
from engine.models.packaged import PACKAGED

_ROOT = Path(__file__).parents[2]
_RESULTS = _ROOT / "benchmarks" / "results"
_BUILT = _ROOT / "build" / "serving"
_NAMES = [server.name for server in SERVERS]
_QUICK = Plan(clients=(1, 8), seconds=2.0, rounds=1, prompt=500)


def main() -> None:
    """Measure what the command line asks for."""
    asked = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever stops it stops the servers too
    turns = 10 * asked.plan.rounds + 3 * len(asked.plan.clients)
    minutes = len(asked.models) * turns * (asked.plan.seconds + 10) / 60  # 10: for starts and scenarios
    print(f"This takes about {minutes:.0f} minutes on two quiet cores, and longer on busy ones.", flush=True)
    _BUILT.mkdir(parents=True, exist_ok=True)
    found: list[ModelResults] = []
    folder = _BUILT
    try:
        for model in asked.models:
            found.append(ModelResults(model.name))
            _measure(model.path, asked, found[-1])
        if (asked.plan, asked.only, [each.model for each in found]) == (Plan(), _NAMES, list(PACKAGED)):
            folder = _RESULTS
    finally:  # what was found is reported, whatever ended the run
        write(folder, found)
        print(f"\nwritten: serving.json and serving.svg in {folder.relative_to(_ROOT)}")


def _measure(model: Path, asked: argparse.Namespace, found: ModelResults) -> None:
    servers = [server for server in SERVERS if server.name in asked.only]
    print(f"\n{found.model}\n{ROWS.heading}", flush=True)
    with started(servers, Setting(model), _BUILT) as sides:
        for row in measure(sides, asked.plan, found.rows):
            print(row.text(), flush=True)
    for server in servers:
        if server.note:
            print(f"  ({server.name}: {server.note})", flush=True)
    print(f"\n{RATIOS.heading}")
    for ratio in found.goals():
        print(ratio.text(), flush=True)
    if OURS in asked.only:
        asyncio.run(_run_scenarios(model, asked.plan, found.scenarios))


async def _run_scenarios(model: Path, plan: Plan, found: list[Ratio]) -> None:
    with running(SERVERS[0], Setting(model, context=CONTEXT), _BUILT / "scenarios.log") as served:
        async for ratio in Scenarios(served, plan.prompt).run(plan.rounds):
            found.append(ratio)
            print(ratio.text(), flush=True)


def _arguments() -> argparse.Namespace:
    """Return the ``models`` that are installed, the servers to measure ``only``, and the ``plan``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", default=list(PACKAGED), help="default: the packaged ones")
    parser.add_argument("--clients", nargs="+", type=int, help="closed loops (default: 1 4 8 16 32)")
    parser.add_argument("--seconds", type=float, help="length of each turn (default: 18)")
    parser.add_argument("--rounds", type=int, help="rounds of what has a goal (default: 3)")
    parser.add_argument("--only", nargs="+", choices=_NAMES, default=_NAMES, help="measure no other servers")
    parser.add_argument("--quick", action="store_true", help="one short round, to see whether it works")
    asked = parser.parse_args()
    given = {name: value for name in ("clients", "seconds", "rounds") if (value := getattr(asked, name))}
    asked.plan = replace(_QUICK if asked.quick else Plan(), **given)
    names, asked.models = asked.models, []
    for name in names:
        try:
            asked.models.append(locate(name))
        except ModelLoadError as error:
            print(f"{error} {error.hint or ''}")
    return asked


if __name__ == "__main__":
    main()
