"""Starts a model's servers, drives them in turns with one client program, and prints what came out.

Every server keeps its own defaults but for what all are given alike: the file, the context, the slots and
the threads. What is in the environment goes to all of them, such as ``GOMP_SPINCOUNT`` on a machine with
neighbours. Ratios are of turns that came one soon after the other.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.client import CallError
from benchmarks.servers import OURS, SERVERS, ServerError, Setting, peer_versions, running
from benchmarks.serving.measure import Plan, measure, sides_of
from benchmarks.serving.results import ROWS, Results
from benchmarks.serving.scenarios import CONTEXT, QUICK, Scale, Scenarios
from engine.errors import ModelLoadError
from engine.loading.models import locate
from engine.loading.packaged import PACKAGED

if TYPE_CHECKING:
    from benchmarks.servers import Server
    from engine.loading.models import ModelFile

_ROOT = Path(__file__).parents[2]
_RESULTS = _ROOT / "benchmarks" / "results"
_BUILT = _ROOT / "build" / "serving"
_WHOLE = Plan((1, 4, 8, 16, 32), share=0.7, seconds=18.0, rounds=3)
_QUICK = Plan((1, 8), share=0.7, seconds=2.0, rounds=1)


def main() -> None:
    """Measure what the command line asks for."""
    asked = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever stops it stops the servers too
    servers = [server for server in SERVERS if asked.only in (None, server.name)]
    plan = Plan(asked.clients, asked.share, asked.seconds, asked.rounds)
    scale = QUICK if asked.quick else Scale()
    minutes = len(asked.models) * (plan.expected_seconds() + scale.expected_seconds()) / 60
    print(f"This takes about {minutes:.0f} minutes on two quiet cores, and longer on busy ones.", flush=True)
    _BUILT.mkdir(parents=True, exist_ok=True)
    results = Results()
    try:
        for name in asked.models:
            model = locate(name)
            _measure_servers(model, servers, plan, results)
            if asked.only in (None, OURS):
                _run_scenarios(model, scale, results)
    except KeyboardInterrupt:  # what was found so far is still told
        results.absent["the rest"] = "interrupted"
    print(*results.tables(), sep="\n")
    is_whole = asked.models == list(PACKAGED) and plan == _WHOLE and not asked.only and not results.absent
    folder = _RESULTS if is_whole else _BUILT
    results.write(folder, peer_versions())
    print(f"\nwritten: serving.json and serving.svg in {folder.relative_to(_ROOT)}")


def _measure_servers(model: ModelFile, servers: list[Server], plan: Plan, results: Results) -> None:
    """Fill the throughput table; a server that cannot be had is told, and the others go on."""
    print(f"\n{model.name}\n{ROWS.heading}", flush=True)
    absent: dict[str, str] = {}
    with sides_of(servers, Setting(model.path), _BUILT, absent) as sides:
        for name, why in absent.items():
            results.absent[f"{name} with {model.name}"] = why
            print(f"{name:18}{why}", flush=True)
        results.idle[model.name] = sides.idle()
        for row in measure(sides, model.name, plan, results):
            print(row.text(), flush=True)
    for server in servers:
        if server.note:
            print(f"  ({server.name}: {server.note})", flush=True)
    idle = ", ".join(f"{side} {processors:.2f}" for side, processors in results.idle[model.name].items())
    print(f"  (processors busy while idle: {idle})", flush=True)


def _run_scenarios(model: ModelFile, scale: Scale, results: Results) -> None:
    setting, log = Setting(model.path, context=CONTEXT), _BUILT / "scenarios.log"
    try:
        with running(SERVERS[0], setting, log) as served:
            asyncio.run(Scenarios(served, model.name, scale).run(results.scenarios))
    except (ServerError, CallError, OSError) as error:
        results.absent[f"scenarios with {model.name}"] = f"{type(error).__name__}: {error}"
        print(f"the scenarios failed: {error!r}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", help="models to serve (default: the packaged ones)")
    parser.add_argument("--clients", nargs="+", type=int, help="closed loops (default: 1 4 8 16 32)")
    parser.add_argument("--seconds", type=float, help=f"length of each turn (default: {_WHOLE.seconds:.0f})")
    parser.add_argument("--rounds", type=int, help=f"rounds of what has a goal (default: {_WHOLE.rounds})")
    parser.add_argument("--share", type=float, default=0.7, help="the open loop's rate, of the closed one's")
    names = [server.name for server in SERVERS]
    parser.add_argument("--only", choices=names, help="measure this one alone")
    parser.add_argument("--quick", action="store_true", help="one short round, to see whether it works")
    asked = parser.parse_args()
    default = _QUICK if asked.quick else _WHOLE
    asked.clients = tuple(asked.clients or default.clients)
    asked.seconds = asked.seconds or default.seconds
    asked.rounds = asked.rounds or default.rounds
    asked.models = asked.models or [name for name in PACKAGED if _is_installed(name)]
    return asked


def _is_installed(name: str) -> bool:
    try:
        locate(name)
    except ModelLoadError as error:
        print(f"{error} {error.hint or ''}")
        return False
    return True


if __name__ == "__main__":
    main()
