"""What a step takes, as it was measured: the engine's own curves, with figures of two machines."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.core.attention_cost import AttentionCost, AttentionCosts
from engine.core.step_cost import StepCost

_RESULTS = Path(__file__).parents[2] / "results" / "step_cost.json"
_CPU_PREFILL = 1 / 290
"""Seconds of a prompt's token: SmolLM2-135M Q4_1, two Zen 3 cores, where its decodes were measured, too."""
_CPU_DEPTH = AttentionCosts(
    # docs/notes/scheduling.md: after 1,800 tokens a decode takes 4 times as long, a prompt's token 1.7.
    decodes=AttentionCost(3 * 6.5e-3 / 1800, at=1800),
    guesses=AttentionCost(),
    prompts=AttentionCost(0.7 * _CPU_PREFILL / 1800, at=1800),
)
_GPU_DEPTH = AttentionCosts(
    # docs/notes/step-cost.md: with 8,192 cells in use, 32 decodes take 3.53 instead of 2.55 ms, and
    # 512 tokens of a prompt 10.2 instead of 6.59 ms.
    decodes=AttentionCost((3.53e-3 - 2.55e-3) / 32 / 8192, at=8192),
    guesses=AttentionCost(),
    prompts=AttentionCost((10.2e-3 - 6.59e-3) / 512 / 8192, at=8192),
)
MAX_STEP = 512
"""Tokens of a step at most, as the engine's default has it."""


@dataclass(frozen=True)
class Machine:
    """One worker.

    Attributes:
        what: Model and machine, for tables.
        cost: What its steps take.
        slots: Sequences that run at once.
        cells: Tokens of its KV cache.
        host_cache: Tokens of prefixes that it keeps in host memory.
        restore: Seconds to copy a token of a prefix into the KV cache.
        save: Seconds to copy one out of it.
        budgets: Budgets for prompts that were computed, for all workers of this kind.
    """

    what: str
    cost: StepCost
    slots: int = 16
    cells: int = 65_536
    host_cache: int = 65_536
    restore: float = 0.0
    save: float = 0.0
    budgets: dict[tuple[int, ...], int] = field(default_factory=dict, compare=False, repr=False)


def cpu(*, slots: int = 16, cache: int = 65_536) -> Machine:
    """Return a worker with SmolLM2-135M on two cores; all figures are measured.

    Args:
        slots: Sequences at once; 16 is the default of ``nucleus serve``, and the widest step measured.
        cache: Tokens of the KV cache, and of the host cache.
    """
    line = _lines("Two CPU cores: decodes")["SmolLM2-135M Q4_1, Zen 3"]
    prefill = {1: line[1], MAX_STEP: MAX_STEP * _CPU_PREFILL}
    cost = StepCost(line, prefill, max_decodes=slots, max_tokens=MAX_STEP, attention=_CPU_DEPTH)
    what = "SmolLM2-135M Q4_1, two Zen 3 cores"
    return Machine(what, cost, slots, cache, cache, restore=6e-6, save=12e-6)


def gpu(*, slots: int = 32, cache: int = 1_048_576) -> Machine:
    """Return a worker with a 1B model on an H200: steps are measured, the copies of prefixes are left out."""
    lines = _lines("An H200, 1B F16: decodes, and tokens of one prompt")
    cost = StepCost(
        {rows: seconds for rows, seconds in lines["decodes"].items() if rows <= slots},
        {tokens: seconds for tokens, seconds in lines["prompt tokens"].items() if tokens <= MAX_STEP},
        max_decodes=slots,
        max_tokens=MAX_STEP,
        attention=_GPU_DEPTH,
    )
    return Machine("a 1B model as F16, one H200", cost, slots, cache, cache)


MACHINES = {"cpu": cpu, "gpu": gpu}


def _lines(title: str) -> dict[str, dict[int, float]]:
    """Return the lines of a panel: label -> tokens of the step -> seconds."""
    panels: list[dict[str, Any]] = json.loads(_RESULTS.read_text(encoding="utf-8"))["panels"]
    lines = next(panel["lines"] for panel in panels if panel["title"] == title)
    return {
        label: {int(tokens): milliseconds / 1e3 for tokens, milliseconds in line.items()}
        for label, line in lines.items()
    }
