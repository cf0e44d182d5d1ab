"""Time against the size of the vocabulary: the points of the plot."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from benchmarks.sampler.race import OURS, Race
from benchmarks.sampler.results import LLAMA
from benchmarks.sampler.sides import TYPICAL, LlamaChain, Nucleus, OneRead, with_numpy
from engine.sampling import KERNELS

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from benchmarks.sampler.material import Material, Rows
    from benchmarks.sampler.results import Results
    from benchmarks.sampler.sides import Side

_ROUNDS = 15


@pytest.mark.parametrize("model", ["gemma-3-270m"], indirect=True)
@pytest.mark.parametrize("n_vocab", [1024, 4096, 16_384, 49_152, 131_072, 262_144])
def test_curve(benchmark: BenchmarkFixture, material: Material, results: Results, n_vocab: int) -> None:
    narrowed = material.narrowed(n_vocab)
    others: dict[str, Side] = {
        "numpy, as people write it": with_numpy(narrowed),
        **{f"engine, {kernels}": Nucleus(narrowed, TYPICAL, kernels=kernels) for kernels in KERNELS[1:]},
        "one read of the row": OneRead(narrowed),
    }
    race = Race.run(benchmark, Nucleus(narrowed, TYPICAL), others, _ROUNDS)
    for side in race.seconds:
        label = f"engine, {KERNELS[0]}" if side == OURS else side
        results.curve.setdefault(label, {})[n_vocab] = round(race.microseconds(side), 3)


def test_llama(benchmark: BenchmarkFixture, rows: Rows, material: Material, results: Results) -> None:
    with closing(LlamaChain.contract(rows, material)) as llama:
        race = Race.run(benchmark, Nucleus(material, TYPICAL), {LLAMA: llama}, _ROUNDS)
    results.curve.setdefault(LLAMA, {})[material.n_vocab] = round(race.microseconds(LLAMA), 3)
