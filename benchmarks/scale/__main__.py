"""Measures servers of one thread each behind a gateway, against the same servers without it, in turns."""

from __future__ import annotations

import argparse
import signal
import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.machine import describe
from benchmarks.remote import RemoteError
from benchmarks.report import Table, write_json
from benchmarks.scale.fleet import GROUPS, SETTING
from benchmarks.scale.measure import (
    CACHE_AWARE,
    MANY,
    ONE,
    ROUND_ROBIN,
    WORKERS,
    Conversations,
    Plan,
    Taken,
    measure_conversations,
    measure_sides,
)
from benchmarks.servers import ServerError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ROOT = Path(__file__).parents[2]
_RESULTS = _ROOT / "benchmarks" / "results" / "scale.json"
_BUILT = _ROOT / "build" / "scale"
_QUICK = Plan(seconds=4.0, rounds=1, first_tokens=20)
_CACHE_GOALS = {ROUND_ROBIN: 0.4, ONE: 1.05}
"""The most prompt tokens that cache-aware routing computes, as a part of those of another way."""
_CHECKS = Table(
    {"what": "<54", "with": ">10.2f", "without": ">10.2f", "found": ">10.3f", "goal": ">10.2f", "": ">4"}
)

say = partial(print, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for; return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--rounds", type=int, help="rounds of everything (default: 5)")
    parser.add_argument("--seconds", type=float, help="length of each closed loop (default: 30)")
    parser.add_argument("--quick", action="store_true", help="one short round, to see whether it works")
    asked = parser.parse_args(arguments)
    given = {name: value for name in ("rounds", "seconds") if (value := getattr(asked, name))}
    plan = replace(_QUICK if asked.quick else Plan(), **given)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever stops it stops the servers too
    _BUILT.mkdir(parents=True, exist_ok=True)
    say(f"This takes about {plan.minutes:.0f} minutes on two quiet cores.\n\n{_CHECKS.heading}")
    try:
        taken, checks = [], []
        for group in GROUPS:
            direct, *others = measure_sides(SETTING, plan, _BUILT, group)
            _tell(found := [check for side in others for check in checks_of(side, direct)])
            taken += [direct, *others]
            checks += found
        talks = {found.policy: found for found in measure_conversations(SETTING, plan, _BUILT)}
        _tell(more := cache_checks_of(talks))
    except (ServerError, RemoteError) as error:
        print(error, file=sys.stderr)
        return 1
    target = _RESULTS if plan == Plan() else _BUILT / "scale.json"
    write_json(target, content(plan, taken, list(talks.values()), checks + more))
    say(f"\nwritten: {target.relative_to(_ROOT)}")
    return 0 if all(check["holds"] for check in checks + more) else 1


Check = dict[str, Any]
"""A goal: what it is about, the figures with and without, the one that is compared, and whether it holds."""


def checks_of(side: Taken, direct: Taken) -> list[Check]:
    """Compare a side with the same servers without it."""
    name, fast, slow = side.side.name, side.tokens_per_s, direct.tokens_per_s
    checks = [
        _check(f"tokens/s of {WORKERS} workers behind {name}", fast, slow, fast / slow, side.side.throughput)
    ]
    checks[0]["holds"] = fast / slow >= side.side.throughput
    for percent, goal in zip((50, 99), side.side.first_token, strict=True):
        along, without = side.first_token(percent), direct.first_token(percent)
        what = f"milliseconds that {name} adds to the first token, p{percent}"
        checks.append(_check(what, along, without, along - without, goal))
    return checks


def cache_checks_of(talks: Mapping[str, Conversations]) -> list[Check]:
    """Compare the prompt tokens that are computed."""
    along = talks[CACHE_AWARE].computed
    return [
        _check(
            f"prompt tokens computed, {CACHE_AWARE} on {MANY} against {other}",
            along,
            talks[other].computed,
            along / talks[other].computed,
            goal,
        )
        for other, goal in _CACHE_GOALS.items()
    ]


def _check(what: str, along: float, without: float, found: float, goal: float) -> Check:
    return {
        "what": what,
        "with": along,
        "without": without,
        "found": found,
        "goal": goal,
        "holds": found <= goal,
    }


def _tell(checks: Sequence[Check]) -> None:
    for check in checks:
        *cells, holds = check.values()
        say(_CHECKS.line(*cells, "ok" if holds else "NO"))


def content(
    plan: Plan, taken: Sequence[Taken], talks: Sequence[Conversations], checks: Sequence[Check]
) -> Any:
    """Return what was found, for JSON."""
    return {
        "machine": describe(),
        "plan": asdict(plan),
        "checks": checks,
        "sides": [
            {
                "name": found.side.name,
                "turns": [asdict(turn) for turn in found.turns],
                "first_token_ms": found.first_tokens,
            }
            for found in taken
        ],
        "conversations": {found.policy: [each._asdict() for each in found.rounds] for found in talks},
    }


if __name__ == "__main__":
    sys.exit(main())
