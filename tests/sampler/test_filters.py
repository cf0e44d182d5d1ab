"""top_k, top_p and min_p on rows small enough to work out by hand: borders, ties, order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.sampling import Sampler, SamplingParams

LOGARITHMS = np.log(np.array([0.1, 0.4, 0.2, 0.3], np.float32))


def kept(logits: Any, **params: Any) -> list[int]:
    row = np.asarray(logits, np.float32)
    sampler = Sampler(len(row), 1)
    sampler.open(0, SamplingParams(seed=0, **params))
    return [int(token) for token in sampler.distribution(row, 0)[0]]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, [0, 1, 2, 3]),
        ({"top_p": 1e-9}, [1]),
        ({"top_p": 0.39}, [1]),
        ({"top_p": 0.41}, [1, 3]),
        ({"top_p": 0.69}, [1, 3]),
        ({"top_p": 0.71}, [1, 2, 3]),
        ({"top_p": 0.95}, [0, 1, 2, 3]),
        ({"top_k": 1}, [1]),
        ({"top_k": 3}, [1, 2, 3]),
        ({"top_k": 4}, [0, 1, 2, 3]),
        ({"top_k": 1000}, [0, 1, 2, 3]),
        ({"min_p": 0.24}, [0, 1, 2, 3]),
        ({"min_p": 0.26}, [1, 2, 3]),
        ({"min_p": 1.0}, [1]),
        # The nucleus is that of the rest: 0.4 and 0.3 are 0.57 and 0.43 of it.
        ({"top_k": 2, "top_p": 0.56}, [1]),
        ({"top_k": 2, "top_p": 0.58}, [1, 3]),
        ({"min_p": 0.7, "top_p": 0.56}, [1]),
        ({"min_p": 0.7, "top_k": 3}, [1, 3]),
    ],
)
def test_borders(params: dict[str, Any], expected: list[int]) -> None:
    assert kept(LOGARITHMS, **params) == expected


@pytest.mark.parametrize("n_vocab", [4, 100, 1000])
def test_ties_are_kept_from_the_lowest_id(n_vocab: int) -> None:
    assert kept(np.ones(n_vocab), top_k=3) == [0, 1, 2]
    assert kept(np.ones(n_vocab), top_p=0.5) == list(range(n_vocab // 2))
    assert kept(np.ones(n_vocab), top_p=0.5 + 0.25 / n_vocab) == list(range(n_vocab // 2 + 1))
    two = np.zeros(n_vocab)
    two[-2:] = 9.0
    assert kept(two, top_k=3) == [0, n_vocab - 2, n_vocab - 1]


def test_min_p_keeps_a_token_exactly_at_its_border() -> None:
    assert kept([0.0, 0.0, -1e-6], min_p=1.0) == [0, 1]


def test_filters_see_the_distribution_after_the_temperature() -> None:
    assert kept(LOGARITHMS, temperature=0.5, top_p=0.5) == [1]  # squares: 1, 16, 4, 9 of 30
    assert kept(LOGARITHMS, temperature=0.5, top_p=0.54) == [1, 3]


def test_impossible_tokens_do_not_count_among_the_top_k() -> None:
    assert kept([-np.inf, 1.0, -np.inf, 0.0], top_k=3) == [1, 3]


def test_one_token() -> None:
    for params in ({}, {"top_p": 0.1}, {"top_k": 1}, {"min_p": 1.0}, {"temperature": 0.0}):
        assert kept([-5.0], **params) == [0]
