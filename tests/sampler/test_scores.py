"""``Sampler.score``: the raw log-probabilities of tokens that are given, not drawn."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engine.sampling import RowStatus, Sampler, SamplingParams
from tests.sampler.oracle import logprobs as log_softmax

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOGITS = st.floats(-50, 50, width=32) | st.sampled_from([-np.inf, 0.0, 1.0])


@settings(deadline=None)  # an emulated processor takes its time
@given(
    arrays.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 300)), elements=LOGITS), st.data()
)
def test_every_number_is_the_log_softmax(logits: NDArray[np.float32], data: st.DataObject) -> None:
    rows, n_vocab = logits.shape
    tokens = data.draw(st.lists(st.integers(0, n_vocab - 1), min_size=rows, max_size=rows))
    k = data.draw(st.integers(0, 8))
    scores = Sampler(n_vocab, 1, max_logprobs=8).score(logits, tokens, logprobs=k)
    for i, row in enumerate(logits):
        if not np.isfinite(row.max()):
            assert scores.status[i] == RowStatus.NO_FINITE_LOGIT
            assert np.isnan(scores.logprobs[i])
            assert (scores.top_tokens[i] == -1).all()
            continue
        (expected,) = log_softmax(row[None])
        best = np.argsort(-row, kind="stable")[:k]
        assert scores.status[i] == RowStatus.OK
        assert scores.logprobs[i] == pytest.approx(expected[tokens[i]], abs=4e-6)
        assert scores.top_tokens[i, : len(best)].tolist() == best.tolist()
        assert scores.top_logprobs[i, : len(best)] == pytest.approx(expected[best], abs=4e-6)
        assert (scores.top_tokens[i, len(best) :] == -1).all()
        assert np.isnan(scores.top_logprobs[i, len(best) :]).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_drawn_token_has_the_very_score_that_its_draw_told(threads: int) -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 4, (6, 40_000)).astype(np.float32)
    sampler = Sampler(40_000, 6, max_logprobs=5, threads=threads)
    for slot in range(6):
        sampler.open(slot, SamplingParams(seed=slot, logprobs=5, temperature=2.0, top_p=0.9))
    draws = sampler.sample(logits, np.arange(6, dtype=np.int32))
    scores = sampler.score(logits, draws.tokens, logprobs=5)
    np.testing.assert_array_equal(scores.logprobs, draws.logprobs)
    np.testing.assert_array_equal(scores.top_tokens, draws.top_tokens)
    np.testing.assert_array_equal(scores.top_logprobs, draws.top_logprobs)


def test_scoring_leaves_every_slot_as_it_was() -> None:
    logits = np.random.default_rng(2).normal(0, 1, (1, 500)).astype(np.float32)
    slots = np.zeros(1, np.int32)
    drawn = []
    for scored in (False, True):
        sampler = Sampler(500, 1)
        sampler.open(0, SamplingParams(seed=3, frequency_penalty=1.0))
        for _ in range(8):
            if scored:
                sampler.score(logits, [7], logprobs=20)
            drawn.append(int(sampler.sample(logits, slots).tokens[0]))
    assert drawn[:8] == drawn[8:]


def test_more_rows_than_slots_and_their_scores_are_the_caller_s() -> None:
    sampler = Sampler(4, 1, max_logprobs=2)
    first = sampler.score(np.zeros((5, 4), np.float32), [0, 1, 2, 3, 0], logprobs=2)
    before = [array.copy() for array in first]
    sampler.score(np.arange(8, dtype=np.float32).reshape(2, 4), [1, 1], logprobs=1)
    for array, copied in zip(first, before, strict=True):
        np.testing.assert_array_equal(array, copied)
    assert first.logprobs == pytest.approx(np.log(np.full(5, 0.25)))


@pytest.mark.parametrize(
    ("row", "status"),
    [
        ([0.0, np.nan], RowStatus.NAN_LOGIT),
        ([0.0, np.inf], RowStatus.INFINITE_LOGIT),
        ([-np.inf, -np.inf], RowStatus.NO_FINITE_LOGIT),
    ],
)
def test_a_row_that_is_no_use_does_not_disturb_its_neighbour(row: list[float], status: RowStatus) -> None:
    scores = Sampler(2, 1).score(np.array([row, [0.0, 0.0]], np.float32), [0, 0], logprobs=2)
    assert scores.status.tolist() == [status, RowStatus.OK]
    assert np.isnan(scores.logprobs[0])
    assert scores.logprobs[1] == pytest.approx(np.log(0.5))


def test_no_rows_have_no_scores() -> None:
    scores = Sampler(2, 1).score(np.empty((0, 2), np.float32), [], logprobs=1)
    assert [array.shape for array in scores] == [(0,), (0, 1), (0, 1), (0,)]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"logits": np.zeros((2, 5), np.float32)}, ValueError, "logits must have 4 columns (n_vocab), got 5"),
        ({"tokens": [1]}, ValueError, "tokens must have one entry per row of logits (2), got 1"),
        ({"tokens": [0, 4]}, ValueError, "token ids in tokens must be in [0, 3], got 4"),
        ({"tokens": [0, -1]}, ValueError, "token ids in tokens must be in [0, 3], got -1"),
        ({"tokens": [0.0, 1.0]}, TypeError, "tokens must hold integers, got float64"),
        ({"logprobs": 3}, ValueError, "logprobs must be in [0, 2], got 3"),
        ({"logprobs": -1}, ValueError, "logprobs must be in [0, 2], got -1"),
    ],
)
def test_a_wrong_argument_is_named(change: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments: dict[str, Any] = {"logits": np.zeros((2, 4), np.float32), "tokens": [0, 1], "logprobs": 0}
    with pytest.raises(error, match=re.escape(message)):
        Sampler(4, 1, max_logprobs=2).score(**arguments | change)
