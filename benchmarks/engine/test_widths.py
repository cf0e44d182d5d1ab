"""Milliseconds of a step of each width, and the width that the engine takes for it."""

from __future__ import annotations

from contextlib import closing
from statistics import median
from typing import TYPE_CHECKING

import pytest

from benchmarks.engine.conftest import WIDTHS
from engine.backend.llama import LlamaBackend, LlamaOptions
from engine.backend.llama_model import LlamaModel
from engine.core.calibration import calibrate
from engine.core.step_cost import StepCost
from engine.hardware import physical_cores

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from benchmarks.engine.conftest import Report
    from engine.models.names import ModelFile

MAX_DECODES = 16
_ROUNDS = 9
_ENOUGH = 60.0
"""Seconds in which every width is measured."""

pytestmark = pytest.mark.timeout(900)


def test_widths(benchmark: BenchmarkFixture, model: ModelFile, report: Report) -> None:
    options = LlamaOptions(
        n_slots=MAX_DECODES,
        prefix_cache=True,
        n_cells=4096,
        n_batch=64,
        n_threads=physical_cores(),
        n_gpu_layers=0,
        batch_invariant="off",
    )
    costs: list[StepCost] = []
    with closing(LlamaBackend(LlamaModel(model.path), options)) as backend:
        benchmark.pedantic(  # type: ignore[no-untyped-call]
            lambda: costs.append(calibrate(backend, seconds=_ENOUGH)), rounds=_ROUNDS
        )
    seconds = {width: median(cost.seconds(width) for cost in costs) for width in costs[0].widths}
    together = StepCost(seconds, {1: seconds[1]}, max_decodes=max(seconds), max_tokens=max(seconds))
    for decodes in range(1, MAX_DECODES + 1):
        alone, width = seconds[decodes], together.widths[decodes]
        taken = seconds[width]
        report[WIDTHS].append(
            WIDTHS.line(model.name, decodes, 1e3 * alone, width, 1e3 * taken, taken / alone)
        )
    benchmark.extra_info |= {"seconds": seconds, "widths": dict(together.widths)}
