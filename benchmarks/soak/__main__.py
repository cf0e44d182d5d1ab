"""Serves sixteen clients who ask, share and leave at random, and fails if anything grows or is lost."""

from __future__ import annotations

import argparse
import asyncio
import sys
from functools import partial
from pathlib import Path

from benchmarks.soak import sample
from benchmarks.soak.run import Run
from engine.errors import EngineError

_RESULTS = Path(__file__).parents[2] / "build" / "soak" / "soak.json"
_SHORTEST = 2.0  # minutes


def main() -> None:
    """Make one run, and end with status 1 unless everything holds."""
    asked = _arguments()
    say = partial(print, flush=True)
    try:
        run = Run(asked.minutes * 60, seed=asked.seed, threads=asked.threads, say=say)
        findings = asyncio.run(run.make())
    except EngineError as error:
        sys.exit(str(error))
    findings.write(_RESULTS)
    for line in findings.lines():
        say(line)
    if not findings.hold:
        sys.exit("The run does not hold.")


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
    if not sample.can_be_taken():
        parser.error("this system does not tell how much memory a process takes; Linux does, in /proc")
    return asked


if __name__ == "__main__":
    main()
