"""Temperature 0 is argmax, ties to the lowest id, whatever else is set."""

from __future__ import annotations

import numpy as np
import pytest

from engine.sampling import Sampler, SamplingParams


@pytest.mark.parametrize("n_vocab", [1, 2, 63, 64, 65, 1000])
def test_ties_go_to_the_lowest_id(n_vocab: int) -> None:
    rng = np.random.default_rng(n_vocab)
    sampler = Sampler(n_vocab, 64)
    logits = rng.integers(0, 3, (64, n_vocab)).astype(np.float32)
    for slot in range(64):
        sampler.open(slot, SamplingParams(seed=slot, temperature=0.0))
    draws = sampler.sample(logits, np.arange(64, dtype=np.int32))
    assert draws.tokens.tolist() == logits.argmax(axis=1).tolist()


def test_a_negative_zero_ties_with_zero() -> None:
    sampler = Sampler(3, 1)
    sampler.open(0, SamplingParams(seed=0, temperature=0.0))
    assert sampler.sample(np.array([[-1.0, -0.0, 0.0]], np.float32), np.array([0], np.int32)).tokens[0] == 1


def test_neither_seed_nor_filters_matter() -> None:
    row = np.random.default_rng(0).normal(0, 1, (1, 300)).astype(np.float32)
    sampler = Sampler(300, 1)
    for seed in range(20):
        sampler.open(
            0, SamplingParams(seed=seed, temperature=0.0, top_p=0.5 + seed / 50, top_k=seed, min_p=0.1)
        )
        ids, probabilities = sampler.distribution(row[0], 0)
        assert (ids.tolist(), probabilities.tolist()) == ([int(row.argmax())], [1.0])
        assert sampler.sample(row, np.array([0], np.int32)).tokens[0] == row.argmax()
