"""The lines of the table, and the points of the plot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.sampler.comparisons import CALL, COMPARISONS, TYPICAL, Comparison
from benchmarks.sampler.results import Results, race
from benchmarks.sampler.sides import Rows, by_numpy, nucleus, one_read
from engine.sampling import KERNELS

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

_OF_MODELS = [comparison for comparison in COMPARISONS if comparison is not CALL]


@pytest.mark.parametrize("comparison", _OF_MODELS, ids=lambda each: f"{each.kernels}: {each.title}")
def test_line(benchmark: BenchmarkFixture, rows: Rows, results: Results, comparison: Comparison) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUCLEUS_KERNELS", comparison.kernels)
        sides = [make(rows) for make in comparison.sides]
    results.add(comparison, rows.n_vocab, race(benchmark, sides))


def test_call(benchmark: BenchmarkFixture, results: Results) -> None:
    rows = Rows(np.zeros((101, 2), np.float32), np.zeros(0, np.int32), context=None, outputs=[])
    results.add(CALL, rows.n_vocab, race(benchmark, [make(rows) for make in CALL.sides]))


@pytest.mark.parametrize("model", ["gemma-3-270m"], indirect=True)
@pytest.mark.parametrize("n_vocab", [1024, 4096, 16_384, 49_152, 131_072, 262_144])
def test_curve(benchmark: BenchmarkFixture, rows: Rows, results: Results, n_vocab: int) -> None:
    narrowed = rows.narrowed(n_vocab)
    sides = {"numpy, as people write it": by_numpy(narrowed), "one read of the row": one_read(narrowed)}
    with pytest.MonkeyPatch.context() as patch:
        for kernels in KERNELS:
            patch.setenv("NUCLEUS_KERNELS", kernels)
            sides[f"engine, {kernels}"] = nucleus(narrowed, TYPICAL)
    times = race(benchmark, list(sides.values())).microseconds
    for side, microseconds in zip(sides, times, strict=True):
        results.add_point(side, n_vocab, microseconds)
