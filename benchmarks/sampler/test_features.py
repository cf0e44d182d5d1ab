"""What a feature adds to a draw, or takes off: our own sides against each other."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.sampler import goals
from benchmarks.sampler.goals import Line
from benchmarks.sampler.race import OURS, Race
from benchmarks.sampler.sides import TYPICAL, Nucleus
from engine.sampling import KERNELS, Sampler, SamplingParams

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from benchmarks.sampler.material import Material
    from benchmarks.sampler.results import Results

_ROUNDS = 80


def test_options(benchmark: BenchmarkFixture, material: Material, results: Results) -> None:
    no_penalties = {**TYPICAL, "presence_penalty": 0.0, "frequency_penalty": 0.0}
    biased = np.linspace(0, material.n_vocab - 1, 20, dtype=int).tolist()
    added: dict[str, dict[str, Any]] = {
        goals.BIAS: {"logit_bias": dict.fromkeys(biased, 1.0)},
        goals.TOP_K: {"top_k": 40},
        goals.MIN_P: {"min_p": 0.05},
        goals.LOGPROBS: {"logprobs": 20},
    }
    others = {title: Nucleus(material, {**TYPICAL, **options}) for title, options in added.items()}
    others["no penalties"] = Nucleus(material, no_penalties)
    race = Race.run(benchmark, Nucleus(material, TYPICAL), others, _ROUNDS)
    results.lines += [race.line(title, OURS, ours=title) for title in added]
    results.lines.append(race.line(goals.PENALTIES, "no penalties"))


def test_flat_row(benchmark: BenchmarkFixture, material: Material, results: Results) -> None:
    flat = Nucleus(material.flat(), TYPICAL)
    assert flat.nucleus_size(row=0) > material.n_vocab // 2
    race = Race.run(benchmark, Nucleus(material, TYPICAL), {"flat": flat}, _ROUNDS)
    results.lines.append(race.line(goals.FLAT, OURS, ours="flat"))


def test_sixteen_draws(benchmark: BenchmarkFixture, material: Material, results: Results) -> None:
    first = material.without_history()
    sixteen = Nucleus(first, TYPICAL, rows_per_call=1, n=16)
    race = Race.run(benchmark, Nucleus(first, TYPICAL, rows_per_call=1), {"sixteen": sixteen}, _ROUNDS)
    results.lines.append(race.line(goals.SIXTEEN, OURS, ours="sixteen"))


def test_two_threads(benchmark: BenchmarkFixture, material: Material, results: Results) -> None:
    """Call after call, so that the second thread is asleep for the first one only."""
    one = Nucleus(material, TYPICAL, rows_per_call=8, visits=8)
    two = Nucleus(material, TYPICAL, rows_per_call=8, visits=8, threads=2)
    race = Race.run(benchmark, one, {"two": two}, _ROUNDS)
    results.lines.append(race.line(goals.THREADS, OURS, ours="two"))


def test_call(benchmark: BenchmarkFixture, results: Results) -> None:
    """Time calls for one greedy draw from two tokens, less what a draw takes in calls for many."""
    many = 101
    sampler = Sampler(2, many)
    for slot in range(many):
        sampler.open(slot, SamplingParams(seed=1, temperature=0.0))
    logits, slots = np.zeros((many, 2), np.float32), np.arange(many, dtype=np.int32)
    seconds: list[float] = []

    def many_first() -> None:
        start = perf_counter()
        sampler.sample(logits, slots)
        seconds.append(perf_counter() - start)

    one = (logits[:1], slots[:1])
    benchmark.pedantic(sampler.sample, one, setup=many_first, rounds=2000)  # type: ignore[no-untyped-call]
    if benchmark.stats is None:  # run without --benchmark-enable: it works, and nothing was timed
        return
    call = benchmark.stats.stats.median
    draw = (float(np.median(seconds)) - call) / (many - 1)
    results.lines.append(Line(goals.CALL, 2, KERNELS[0], (call - draw) * 1e6))
