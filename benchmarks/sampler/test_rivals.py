"""The sampler beside llama.cpp's, beside one read of the row, and beside what people write by hand."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.sampler import goal, naive
from benchmarks.sampler.goal import FORCED_GOALS
from benchmarks.sampler.llama import LlamaChain
from benchmarks.sampler.nucleus import TYPICAL, Nucleus
from benchmarks.sampler.race import Race
from benchmarks.sampler.side import OneRead
from engine.sampling import KERNELS

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from benchmarks.sampler.line import Line
    from benchmarks.sampler.material import Material
    from benchmarks.sampler.results import Results
    from benchmarks.sampler.rows import Rows
    from benchmarks.sampler.side import Side

_ROUNDS = 40
_LLAMA = "llama.cpp"
_READ = "one read"
_LOGPROB = "with the log-probability"


def test_contract(benchmark: BenchmarkFixture, rows: Rows, material: Material, results: Results) -> None:
    with closing(LlamaChain.contract(rows, material)) as llama:
        others: dict[str, Side] = {_LLAMA: llama, _READ: OneRead(material), **_forced(material, TYPICAL)}
        race = Race.run(benchmark, Nucleus(material, TYPICAL), others, _ROUNDS)
    results.lines += [
        race.line(goal.CONTRACT, _LLAMA),
        race.line(goal.CONTRACT_MEAN, _LLAMA, mean=True),
        race.line(goal.CONTRACT_READ, _READ),
        *_forced_lines(race, goal.CONTRACT, _LLAMA),
        *_forced_lines(race, goal.CONTRACT_READ, _READ),
    ]


def test_temperature(benchmark: BenchmarkFixture, rows: Rows, material: Material, results: Results) -> None:
    options = {"temperature": 0.7}
    with closing(LlamaChain.temperature(rows, material)) as llama:
        others: dict[str, Side] = {_LLAMA: llama, **_forced(material, options)}
        race = Race.run(benchmark, Nucleus(material, options), others, _ROUNDS)
    results.lines += [
        race.line(goal.TEMPERATURE, _LLAMA),
        *_forced_lines(race, goal.TEMPERATURE, _LLAMA),
    ]


def test_greedy(benchmark: BenchmarkFixture, rows: Rows, material: Material, results: Results) -> None:
    options = {"temperature": 0.0}
    with closing(LlamaChain.greedy(rows, material)) as llama:
        others: dict[str, Side] = {
            _LLAMA: llama,
            _LOGPROB: Nucleus(material, {**options, "logprobs": 0}),
            **_forced(material, options),
        }
        race = Race.run(benchmark, Nucleus(material, options), others, 4 * _ROUNDS)
    results.lines += [
        race.line(goal.GREEDY, _LLAMA),
        race.line(goal.GREEDY_LOGPROB, _LLAMA, ours=_LOGPROB),
        *_forced_lines(race, goal.GREEDY, _LLAMA),
    ]


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_naive(benchmark: BenchmarkFixture, material: Material, results: Results, library: str) -> None:
    if library == "numpy":
        other, title = naive.with_numpy(material), goal.NUMPY
    else:
        other, title = naive.with_torch(material, pytest.importorskip("torch")), goal.TORCH
    race = Race.run(benchmark, Nucleus(material, TYPICAL), {library: other}, rounds=3)
    results.lines.append(race.line(title, library))


def _forced(material: Material, options: dict[str, Any]) -> dict[str, Nucleus]:
    """Return our side with each of the kernels that the sampler would not choose here."""
    return {kernels: Nucleus(material, options, kernels=kernels) for kernels in KERNELS[1:]}


def _forced_lines(race: Race, title: str, other: str) -> list[Line]:
    return [
        race.line(title, other, ours=kernels, kernels=kernels)
        for kernels in KERNELS[1:]
        if title in FORCED_GOALS.get(kernels, {})
    ]
