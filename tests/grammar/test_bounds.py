"""No form takes long, takes much, or ends the process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.grammar.hostile import forms

COMPILE, STEP = 2.0, 0.5
"""Seconds of a processor, of which a busy or an old machine takes some more than others."""
MEGABYTES = 200
REFUSED = [
    "pairs of values",
    "pairs of values in a property",
    "pairs of alternatives",
    "references into each other",
    "references with company",
    "a large multiple",
    "large multiples together",
    "many multiples",
    "one of many",
    "too many properties",
    "many patterns of names",
    "too long a text",
    "arrays in arrays",
    "values in values",
    "groups in groups",
    "both of two",
    "rules in rules",
    "tokens in tokens",
    "tokens doubled",
    "brackets in rules",
    "rules of llama.cpp",
    "groups of llama.cpp",
]


@pytest.fixture(scope="module")
def costs() -> dict[str, dict[str, float]]:
    """What each form cost, in another process."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.grammar.hostile"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=False,
        text=True,
        timeout=110,
    )
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert ran.returncode == 0, f"the process ended behind {lines[-1:]}: {ran.stderr[-500:]}"
    return {line["name"]: line for line in lines}


@pytest.mark.parametrize("name", forms())
def test_a_form_costs_no_more_than_its_bounds(costs: dict[str, dict[str, float]], name: str) -> None:
    cost = costs[name]
    assert cost["compile"] < COMPILE
    assert cost["step"] < STEP
    assert cost["grown"] < MEGABYTES


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_cost_more_is_refused(costs: dict[str, dict[str, float]], name: str) -> None:
    assert costs[name]["said"]
