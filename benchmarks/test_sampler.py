"""Microseconds to draw one token from a real row of logits, beside llama.cpp's own sampler chain."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest

from benchmarks.conftest import N_BATCH
from benchmarks.llama_chain import LlamaChain
from benchmarks.prompts import PASSAGES
from benchmarks.report import SamplerCost
from engine.sampling import Sampler, SamplingParams

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pytest_benchmark.fixture import BenchmarkFixture

    from benchmarks.bare import BareProcess
    from benchmarks.report import Report
    from engine.models import ModelFile

N_ROWS = len(PASSAGES)
_HISTORY = 64
_ROUNDS = 25
_PARAMS = SamplingParams(
    seed=1, temperature=0.7, top_p=0.95, presence_penalty=0.5, frequency_penalty=0.5, logprobs=None
)


class Material(NamedTuple):
    """Rows to draw from, and what was generated before each draw."""

    model: ModelFile
    logits: NDArray[np.float32]
    """What follows each of the passages, float32 ``[16, n_vocab]``."""
    history: list[int]


@pytest.fixture(scope="session")
def material(model: ModelFile, bare: BareProcess) -> Material:
    texts = [bare.tokenize(text) for text in PASSAGES]
    rows = [bare.prefill([text[:N_BATCH]])[0] for text in texts]
    return Material(model, np.stack(rows), texts[0][-_HISTORY:])


def test_sampler(benchmark: BenchmarkFixture, material: Material, report: Report) -> None:
    model, logits, history = material
    sampler = Sampler(logits.shape[1], N_ROWS)
    slots = np.arange(N_ROWS, dtype=np.int32)
    copies: list[float] = []
    llama: list[float] = []

    def set_up() -> None:
        """Run llama.cpp's side, so that the two alternate, and take both back to the same history."""
        chain = LlamaChain(logits, _PARAMS, history)
        copies.append(chain.copy())
        llama.append(chain.run() - copies[-1])
        chain.close()
        for slot in range(N_ROWS):
            sampler.open(slot, _PARAMS, stream=slot, generated=history)

    draws = benchmark.pedantic(  # type: ignore[no-untyped-call]
        lambda: sampler.sample(logits, slots), setup=set_up, rounds=_ROUNDS, warmup_rounds=1
    )
    assert not draws.status.any()
    if benchmark.stats is None:  # run without --benchmark-enable: it works, and nothing was timed
        return
    per_row = 1e6 / N_ROWS
    row = SamplerCost(
        model.name,
        n_vocab=logits.shape[1],
        engine=median(benchmark.stats.stats.data) * per_row,
        llama=median(llama) * per_row,
        copy=median(copies) * per_row,
    )
    report.sampler.append(row)
    benchmark.extra_info |= {
        "n_vocab": row.n_vocab,
        "rows": N_ROWS,
        "engine_us_per_row": row.engine,
        "llama_us_per_row": row.llama,
        "copy_us_per_row": row.copy,
        "llama_s": llama,
    }
