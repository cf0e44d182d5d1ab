"""Runs the fuzzers in rounds of new examples, until one fails or the time is up."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from tests.fuzz.effort import FACTOR

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_FOLDER = Path(__file__).parent
FUZZERS = {
    name: _FOLDER / f"test_{name}.py" for name in ("json_bodies", "protobuf_bytes", "http_bytes", "texts")
}
_EACH_ROUND = 5
"""Times the examples that a fuzzer tries in the tests."""


def _pytest(arguments: list[str]) -> int:
    """Run pytest; return its exit status."""
    effort = os.environ | {FACTOR: str(_EACH_ROUND)}
    return subprocess.call([sys.executable, "-m", "pytest", *arguments], env=effort)


def main(arguments: Sequence[str] | None = None, run: Callable[[list[str]], int] = _pytest) -> int:
    """Run the program; return its exit status: 1 if a fuzzer found something, which pytest has printed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default: 10)")
    parser.add_argument("names", nargs="*", metavar="name", help=f"{', '.join(FUZZERS)} (default: all)")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.names) - FUZZERS.keys():
        parser.error(f"there is no fuzzer {unknown.pop()!r}, only {', '.join(FUZZERS)}")
    paths = [str(FUZZERS[name]) for name in asked.names or FUZZERS]
    deadline, rounds = monotonic() + asked.minutes * 60, 0
    while monotonic() < deadline:
        if run(["-q", "-x", "--no-header", "-o", "timeout=0", *paths]):
            return 1
        rounds += 1
    print(f"{rounds} rounds of {_EACH_ROUND} times the examples of the tests; nothing was found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
