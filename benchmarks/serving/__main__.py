"""Starts one server after the other, drives each with the same client program, and prints what came out.

Every server keeps its own defaults but for what all are given alike: the file, the context, the slots and
the threads. What is in the environment goes to all of them, such as ``GOMP_SPINCOUNT`` on a machine with
neighbours.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.serving import line, row
from benchmarks.serving.measure import Loads, measure, started
from benchmarks.serving.peers import LLAMA_CPP_PYTHON, XLLAMACPP, Environment
from benchmarks.serving.process import ServerError
from benchmarks.serving.reply import CallError
from benchmarks.serving.results import Results
from benchmarks.serving.scenarios import CONTEXT, QUICK, Scale, Scenarios
from benchmarks.serving.server import OURS, Nucleus, Setting, all_servers
from engine.errors import ModelLoadError
from engine.models import PACKAGED, locate

if TYPE_CHECKING:
    from benchmarks.serving.server import Server
    from engine.models import ModelFile

_ROOT = Path(__file__).parents[2]
_RESULTS = _ROOT / "benchmarks" / "results"
_BUILT = _ROOT / "build" / "serving"


def main() -> None:
    """Measure what the command line asks for."""
    asked = _arguments()
    environment = Environment(_ROOT / "build" / "peers")
    servers = [server for server in all_servers(environment) if asked.only in (None, server.name)]
    results = Results()
    try:
        for name in asked.model:
            model = locate(name)
            _measure_servers(model, servers, asked, results)
            if asked.only in (None, OURS):
                _run_scenarios(model, asked, results)
    except KeyboardInterrupt:  # what was found so far is still told
        results.absent["the rest"] = "interrupted"
    _conclude(results)
    is_whole = asked.model == list(PACKAGED) and not asked.quick and not asked.only and not results.absent
    folder = _RESULTS if is_whole else _BUILT
    results.write(folder, environment.versions())
    print(f"written: serving.json and serving.svg in {folder.relative_to(_ROOT)}")


def _measure_servers(
    model: ModelFile, servers: list[Server], asked: argparse.Namespace, results: Results
) -> None:
    """Fill the throughput table; a server that cannot be had is told, and the others go on."""
    print(f"\n{model.name}\n{row.HEADING}", flush=True)
    loads = Loads(asked.clients, asked.share, asked.seconds)
    for server in servers:
        try:
            server.prepare()
            for found in measure(server, Setting(model.path), model.name, loads, _BUILT):
                results.rows.append(found)
                print(found.text(), flush=True)
            if server.note:
                print(f"  ({server.name}: {server.note})", flush=True)
        except ServerError as error:
            results.absent[f"{server.name} with {model.name}"] = str(error)
            print(f"{server.name:18}{error}", flush=True)


def _run_scenarios(model: ModelFile, asked: argparse.Namespace, results: Results) -> None:
    try:
        with started(Nucleus(), Setting(model.path, context=CONTEXT), _BUILT, logprobs=False) as one:
            scenarios = Scenarios(one, model.name, QUICK if asked.quick else Scale())
            asyncio.run(scenarios.run(results.lines))
    except (ServerError, CallError, OSError) as error:
        results.absent[f"scenarios with {model.name}"] = f"{type(error).__name__}: {error}"
        print(f"the scenarios failed: {error!r}", flush=True)


def _conclude(results: Results) -> None:
    """Print what the goals are about."""
    print()
    for text in results.comparisons():
        print(text)
    for model in dict.fromkeys(found.model for found in results.lines):
        print(f"\n{model}\n{line.HEADING}")
        print(*(found.text() for found in results.lines if found.model == model), sep="\n")
    for failed in results.rows:
        if failed.outcome.summary.first_error:
            print(f"{failed.server}, {failed.job.door}, {failed.load}: {failed.outcome.summary.first_error}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__.split("\n")[0])
    parser.add_argument("--model", nargs="+", help="models to serve (default: the packaged ones)")
    parser.add_argument("--clients", nargs="+", type=int, help="closed loops (default: 1 4 8 16 32)")
    parser.add_argument("--seconds", type=float, help="length of each load (default: 20)")
    parser.add_argument("--share", type=float, default=0.7, help="the open loop's rate, of the closed one's")
    parser.add_argument("--only", choices=[OURS, XLLAMACPP, LLAMA_CPP_PYTHON], help="measure this one alone")
    parser.add_argument("--quick", action="store_true", help="one short round, to see whether it works")
    asked = parser.parse_args()
    asked.clients = asked.clients or ([1, 8] if asked.quick else [1, 4, 8, 16, 32])
    asked.seconds = asked.seconds or (4.0 if asked.quick else 20.0)
    asked.model = asked.model or [name for name in PACKAGED if _is_installed(name)]
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
