"""The sampler beside llama.cpp's, beside one read of the row, and beside what people write by hand."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.sampler import goals
from benchmarks.sampler.goals import FORCED_GOALS
from benchmarks.sampler.race import Race
from benchmarks.sampler.sides import TYPICAL, LlamaChain, Nucleus, OneRead, with_numpy, with_torch
from engine.sampling import KERNELS

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from benchmarks.sampler.goals import Line
    from benchmarks.sampler.material import Material, Rows
    from benchmarks.sampler.results import Results
    from benchmarks.sampler.sides import Side

_ROUNDS = 40
_LLAMA = "llama.cpp"
_READ = "one read"
_LOGPROB = "with the log-probability"


def test_contract(benchmark: BenchmarkFixture, rows: Rows, material: Material, results: Results) -> None:
    with closing(LlamaChain.contract(rows, material)) as llama:
        others: dict[str, Side] = {_LLAMA: llama, _READ: OneRead(material), **_forced(material, TYPICAL)}
        race = Race.run(benchmark, Nucleus(material, TYPICAL), others, _ROUNDS)
    results.lines += [
        race.line(goals.CONTRACT, _LLAMA),
        race.line(goals.CONTRACT_MEAN, _LLAMA, mean=True),
        race.line(goals.CONTRACT_READ, _READ),
        *_forced_lines(race, goals.CONTRACT, _LLAMA),
        *_forced_lines(race, goals.CONTRACT_READ, _READ),
    ]


def test_temperature(benchmark: BenchmarkFixture, rows: Rows, material: Material, results: Results) -> None:
    options = {"temperature": 0.7}
    with closing(LlamaChain.temperature(rows, material)) as llama:
        others: dict[str, Side] = {_LLAMA: llama, **_forced(material, options)}
        race = Race.run(benchmark, Nucleus(material, options), others, _ROUNDS)
    results.lines += [
        race.line(goals.TEMPERATURE, _LLAMA),
        *_forced_lines(race, goals.TEMPERATURE, _LLAMA),
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
        race.line(goals.GREEDY, _LLAMA),
        race.line(goals.GREEDY_LOGPROB, _LLAMA, ours=_LOGPROB),
        *_forced_lines(race, goals.GREEDY, _LLAMA),
    ]


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_naive(benchmark: BenchmarkFixture, material: Material, results: Results, library: str) -> None:
    if library == "numpy":
        other, title = with_numpy(material), goals.NUMPY
    else:
        other, title = with_torch(material, pytest.importorskip("torch")), goals.TORCH
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
