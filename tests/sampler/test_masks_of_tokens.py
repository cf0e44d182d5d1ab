"""``Sampler.masks``: masks from boolean arrays and from lists of tokens."""

from __future__ import annotations

import doctest
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import engine.sampling
from engine.sampling import RowStatus, Sampler, SamplingParams

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZES = st.sampled_from([1, 7, 31, 32, 33, 64, 100])


def allowed_by(masks: NDArray[np.int32], n_vocab: int) -> list[list[int]]:
    """Return the tokens that a mask allows, read bit by bit, as the C does."""
    words = masks.astype(np.int64) & 0xFFFF_FFFF
    return [[token for token in range(n_vocab) if row[token // 32] >> (token % 32) & 1] for row in words]


@st.composite
def rows_of_tokens(draw: st.DrawFn) -> tuple[int, list[list[int]]]:
    n_vocab = draw(SIZES)
    return n_vocab, draw(st.lists(st.lists(st.integers(0, n_vocab - 1)), min_size=1, max_size=4))


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(rows_of_tokens())
def test_a_mask_allows_what_it_should(given_rows: tuple[int, list[list[int]]]) -> None:
    n_vocab, rows = given_rows
    sampler = Sampler(n_vocab, 1)
    chosen = np.array([np.isin(np.arange(n_vocab), row) for row in rows])
    expected = [sorted(set(row)) for row in rows]
    others = [[token for token in range(n_vocab) if token not in row] for row in expected]
    forms: list[Any] = [rows, [np.array(row, np.int64) for row in rows], chosen]
    for form in forms:
        masks = sampler.masks(allowed=form)
        assert (masks.dtype, masks.shape) == (np.dtype(np.int32), (len(rows), (n_vocab + 31) // 32))
        assert allowed_by(masks, n_vocab) == expected
        assert allowed_by(sampler.masks(banned=form), n_vocab) == others
    assert allowed_by(sampler.masks(allowed=rows[0]), n_vocab) == expected[:1]
    assert allowed_by(sampler.masks(allowed=chosen[0]), n_vocab) == expected[:1]


def test_what_is_banned_is_not_drawn() -> None:
    sampler, logits = Sampler(100, 2), np.zeros((2, 100), np.float32)
    slots, drawn = np.array([0, 1], np.int32), set()
    masks = sampler.masks(banned=[[*range(99)], [*range(50)]])
    for seed in range(40):
        for slot in slots:
            sampler.open(int(slot), SamplingParams(seed=seed))
        first, second = sampler.sample(logits, slots, masks=masks).tokens.tolist()
        assert first == 99
        drawn.add(second)
    assert min(drawn) >= 50
    assert len(drawn) > 10


def test_a_mask_that_allows_nothing_is_a_row_without_a_token() -> None:
    sampler = Sampler(3, 1)
    sampler.open(0, SamplingParams(seed=1))
    masks = sampler.masks(banned=[0, 1, 2])
    draws = sampler.sample(np.zeros((1, 3), np.float32), np.zeros(1, np.int32), masks=masks)
    assert draws.status[0] == RowStatus.NO_FINITE_LOGIT


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "exactly one of allowed and banned must be given, got neither"),
        ({"allowed": [1], "banned": [2]}, ValueError, "got both"),
        ({"banned": [10]}, ValueError, r"token ids in banned must be in \[0, 9\], got 10"),
        ({"allowed": [[0], [-1]]}, ValueError, r"token ids in allowed must be in \[0, 9\], got -1"),
        ({"banned": [[1.5]]}, TypeError, "banned must hold integers, got float64"),
        ({"banned": [[[1]]]}, ValueError, "a list of token ids, or a list of such lists"),
        ({"allowed": np.ones(9, bool)}, ValueError, r"bool \[k, 10\] or \[10\], got \[9\]"),
        ({"allowed": np.ones((1, 1, 10), bool)}, ValueError, r"got \[1, 1, 10\]"),
    ],
)
def test_masks_refuses(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Sampler(10, 1).masks(**arguments)


def test_the_examples_are_true() -> None:
    finder = doctest.DocTestFinder(recurse=False)
    (example,) = finder.find(Sampler.masks, "masks", engine.sampling, vars(engine.sampling))
    assert doctest.DocTestRunner().run(example).failed == 0
    assert len(example.examples) > 5
