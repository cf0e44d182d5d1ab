"""Rows that cannot be drawn from fail alone, with a status that says why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.sampling import RowStatus, Sampler, SamplingParams
from tests.sampler.oracle import copied

N_VOCAB = 130
BAD: list[tuple[str, dict[int, float], RowStatus]] = [
    ("one NaN", {0: np.nan}, RowStatus.NAN_LOGIT),
    ("NaN in the middle", {70: np.nan}, RowStatus.NAN_LOGIT),
    ("NaN at the end", {129: np.nan}, RowStatus.NAN_LOGIT),
    ("negative NaN", {5: -np.nan}, RowStatus.NAN_LOGIT),
    ("NaN and +inf", {5: np.inf, 6: np.nan}, RowStatus.NAN_LOGIT),
    ("+inf", {129: np.inf}, RowStatus.INFINITE_LOGIT),
    ("all -inf", dict.fromkeys(range(N_VOCAB), -np.inf), RowStatus.NO_FINITE_LOGIT),
    ("all NaN", dict.fromkeys(range(N_VOCAB), np.nan), RowStatus.NAN_LOGIT),
]


def good_rows(rows: int) -> np.ndarray:
    return np.random.default_rng(4).normal(0, 1, (rows, N_VOCAB)).astype(np.float32)


@pytest.mark.parametrize("params", [{}, {"temperature": 0.0}, {"top_p": 0.9, "top_k": 5, "min_p": 0.1}])
@pytest.mark.parametrize(("name", "logits", "status"), BAD, ids=[name for name, _, _ in BAD])
def test_a_bad_row_gets_a_status_and_its_neighbours_are_served(
    name: str, logits: dict[int, float], status: RowStatus, params: dict[str, Any]
) -> None:
    rows = good_rows(3)
    sampler = Sampler(N_VOCAB, 3)
    slots = np.arange(3, dtype=np.int32)
    for slot in range(3):
        sampler.open(slot, SamplingParams(seed=slot, logprobs=2, **params))
    served = copied(sampler.sample(rows, slots))
    for slot in range(3):
        sampler.open(slot, SamplingParams(seed=slot, logprobs=2, **params))
    for token, value in logits.items():
        rows[1, token] = value
    draws = sampler.sample(rows, slots)
    assert draws.status.tolist() == [RowStatus.OK, status, RowStatus.OK]
    assert draws.tokens[1] == -1
    assert np.isnan(draws.logprobs[1])
    assert (draws.top_tokens[1] == -1).all()
    assert np.isnan(draws.top_logprobs[1]).all()
    for array, before in zip(copied(draws), served, strict=True):
        np.testing.assert_array_equal(array[[0, 2]], before[[0, 2]])


def test_banning_every_finite_token_leaves_nothing_to_draw() -> None:
    sampler = Sampler(3, 2)
    sampler.open(0, SamplingParams(seed=0, logit_bias={0: -np.inf, 2: -np.inf}))
    sampler.open(1, SamplingParams(seed=0))
    row = np.array([[1.0, -np.inf, 2.0]], np.float32)
    draws = sampler.sample(row, np.array([0, 1], np.int32), np.array([0, 0], np.int32))
    assert draws.status.tolist() == [RowStatus.NO_FINITE_LOGIT, RowStatus.OK]
    assert draws.tokens[0] == -1
    with pytest.raises(ValueError, match="nothing can be drawn"):
        sampler.distribution(row[0], 0)


def test_a_failed_draw_neither_counts_nor_advances() -> None:
    sampler = Sampler(N_VOCAB, 2)
    for slot in range(2):
        sampler.open(slot, SamplingParams(seed=1, presence_penalty=1.0))
    rows = good_rows(2)
    rows[1] = rows[0]
    broken = rows.copy()
    broken[1, 3] = np.nan
    slots = np.arange(2, dtype=np.int32)
    first = sampler.sample(broken, slots).tokens.tolist()
    assert first[1] == -1
    assert sampler.sample(rows, slots[1:], np.array([1], np.int32)).tokens[0] == first[0]


def test_draws_that_share_a_bad_row_all_fail() -> None:
    sampler = Sampler(N_VOCAB, 4)
    for slot in range(4):
        sampler.open(slot, SamplingParams(seed=slot))
    rows = good_rows(2)
    rows[0, 0] = np.inf
    draws = sampler.sample(rows, np.arange(4, dtype=np.int32), np.array([0, 0, 1, 0], np.int32))
    assert draws.status.tolist() == [2, 2, 0, 2]


def test_every_status_has_a_sentence() -> None:
    sentences = {RowStatus(value).message for value in range(4)}
    assert len(sentences) == 4
    assert all(sentence.endswith(".") for sentence in sentences)
