"""Masks: the tokens that may be drawn, bit by bit; and tokens that are counted without a draw."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.sampling import KERNELS, RowStatus, Sampler, SamplingParams
from tests.sampler.case import Case, Step, check
from tests.sampler.generator import random_mask
from tests.sampler.oracle import Bools, Choice, copied, mask_of
from tests.sampler.test_exactness import MAX_LOGPROBS, random_choice, random_logits
from tests.sampler.test_kernels import assert_same_bits, sampler_on

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SLOT = np.array([0], np.int32)
SIZES = [1, 2, 5, 31, 32, 33, 63, 64, 65, 127, 200, 255, 256, 257, 300, 1_000, 4_096, 4_097, 9_000]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.0},
    {"top_p": 0.95, "temperature": 0.7, "presence_penalty": 0.5, "frequency_penalty": 0.5},
    {"top_p": 0.95, "temperature": 5.0},
    {"top_p": 0.3, "temperature": 0.01},
    {"top_k": 5},
    {"top_k": 40, "top_p": 0.5, "repetition_penalty": 1.3},
    {"min_p": 0.1},
    {"min_p": 0.01, "top_k": 100, "top_p": 0.9, "presence_penalty": -1.0},
]


def int32(*values: int) -> NDArray[np.int32]:
    return np.array(values, np.int32)


def one_of(n_vocab: int, *tokens: int) -> Bools:
    return np.asarray(np.isin(np.arange(n_vocab), tokens))


def some_rows(rows: int, n_vocab: int, seed: int = 5, scale: float = 2.0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, scale, (rows, n_vocab)).astype(np.float32)


@st.composite
def masked_cases(draw: st.DrawFn) -> Case:
    """One to four choices on one or two rows, with masks of their own or shared."""
    n_vocab, seed = draw(st.sampled_from(SIZES)), draw(st.integers(0, 2**32))
    rng, dice = np.random.default_rng(seed), Random(seed)  # noqa: S311 - not a secret
    n, n_rows = draw(st.integers(1, 4)), draw(st.integers(1, 2))
    logits = random_logits(rng, n_rows, n_vocab)
    base, bias = draw(st.sampled_from(OPTIONS)), {0: -np.inf, n_vocab // 2: 3.0, n_vocab - 1: -1.5}
    choices = []
    for slot in range(n):
        options = base if draw(st.booleans()) else draw(st.sampled_from(OPTIONS))
        params = SamplingParams(
            seed=slot,
            logprobs=draw(st.sampled_from([None, 0, 5])),
            logit_bias=bias if draw(st.booleans()) else {},
            **options,
        )
        seen = [dice.randrange(n_vocab) for _ in range(dice.choice([0, 3, 200]))]
        choices.append(Choice(params, slot, seen[::2], seen))
    n_masks = draw(st.integers(1, 2))
    masks = np.stack([random_mask(rng, dice, logits[0]) for _ in range(n_masks)])
    mask_rows = [draw(st.integers(-1, n_masks - 1)) for _ in range(n)]
    rows = sorted(draw(st.integers(0, n_rows - 1)) for _ in range(n))
    return Case(n_vocab, 5, choices, [Step(logits, list(range(n)), rows, [], masks, mask_rows)] * 2)


@settings(max_examples=400, derandomize=True, deadline=None, database=None)
@given(masked_cases())
def test_masked_draws_equal_the_reference(case: Case) -> None:
    assert check(case).faults == []


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("share", [1e-3, 0.03, 0.5, 0.99])
def test_a_real_vocabulary_equals_the_reference(options: dict[str, Any], share: float) -> None:
    n_vocab = 49_152
    logits = some_rows(1, n_vocab)
    masks = mask_of(np.random.default_rng(3).random(n_vocab) < share)[None]
    choice = Choice(SamplingParams(seed=1, logprobs=5, **options), generated=list(range(0, 4_000, 20)))
    assert check(Case(n_vocab, 5, [choice], [Step(logits, [0], masks=masks)])).faults == []


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(
    "allowed", [(1, 2, 3), range(12), range(0, 1_000, 3)], ids=["narrow", "less so", "wide"]
)
@pytest.mark.parametrize("wild", [False, True])
def test_bias_and_penalties_count_for_what_a_mask_allows(
    options: dict[str, Any], allowed: Sequence[int], wild: bool
) -> None:
    """Logits are so close that a bias or a penalty decides; half of what is adjusted is allowed."""
    n_vocab = 1_000
    bias = {1: 0.7, 2: -0.4, 4: -np.inf, 6: 5.0, 500: 9.0, 999: -1.0}
    params = SamplingParams(seed=4, logit_bias=bias, **{"frequency_penalty": 0.2, **options})
    choice = Choice(params, prompt=[3, 5, 700], generated=[2, 2, 3, 7, 7, 7, 9, 500, 501] if wild else [3])
    logits = some_rows(1, n_vocab, scale=0.1)
    masks = mask_of(one_of(n_vocab, *allowed))[None]
    assert check(Case(n_vocab, 5, [choice], [Step(logits, [0], masks=masks)] * 3)).faults == []


def draws_with(
    sampler: Sampler, logits: NDArray[np.float32], choices: list[Choice], masks: NDArray[np.int32] | None
) -> list[NDArray[np.generic]]:
    """Return all arrays of two calls, and the distributions before them."""
    result: list[NDArray[np.generic]] = []
    for slot, choice in enumerate(choices):
        sampler.open(slot, choice.params, stream=slot, prompt=choice.prompt, generated=choice.generated)
        try:
            result += sampler.distribution(logits[slot], slot, None if masks is None else masks[slot])
        except ValueError:
            result.append(np.zeros(0))
    slots = np.arange(len(choices), dtype=np.int32)
    for _ in range(2):
        result += copied(sampler.sample(logits, slots, masks=masks))
    return result


@pytest.mark.parametrize("n_vocab", [1, 33, 256, 4_097, 49_152])
@pytest.mark.parametrize("beyond", [False, True])
def test_a_mask_of_all_tokens_changes_no_bit(n_vocab: int, beyond: bool) -> None:
    rows, dice = 32, Random(n_vocab)  # noqa: S311 - not a secret
    logits = random_logits(np.random.default_rng(n_vocab), rows, n_vocab)
    choices = [random_choice(dice, n_vocab) for _ in range(rows)]
    masks = np.tile(mask_of(np.ones(n_vocab, np.bool_), beyond), (rows, 1))
    sampler = Sampler(n_vocab, rows, max_logprobs=MAX_LOGPROBS)
    assert_same_bits(draws_with(sampler, logits, choices, masks), draws_with(sampler, logits, choices, None))


@pytest.mark.parametrize("n_vocab", [1, 100, 257, 5_000, 49_152])
def test_all_kernels_and_threads_give_the_same_bits(n_vocab: int) -> None:
    rows = 32 if n_vocab < 49_152 else 6
    rng, dice = np.random.default_rng(n_vocab), Random(n_vocab)  # noqa: S311 - not a secret
    for _ in range(4):
        logits = random_logits(rng, rows, n_vocab)
        choices = [random_choice(dice, n_vocab) for _ in range(rows)]
        masks = np.stack([random_mask(rng, dice, row) for row in logits])
        first = sampler_on(KERNELS[0], n_vocab, rows)
        expected = draws_with(first, logits, choices, masks)
        for kernels, threads in [*((name, 1) for name in KERNELS[1:]), (KERNELS[0], 3)]:
            found = draws_with(sampler_on(kernels, n_vocab, rows, threads), logits, choices, masks)
            assert_same_bits(found, expected)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("n_vocab", [7, 500, 4_097])
def test_choices_on_one_row_share_nothing_that_their_masks_do_not(
    n_vocab: int, options: dict[str, Any]
) -> None:
    """Every order of no mask, narrow ones and wide ones on one row, against draws on their own."""
    logits, n = some_rows(1, n_vocab), 24
    rng = np.random.default_rng(0)
    wide = [mask_of(rng.random(n_vocab) < share) for share in (0.5, 0.5, 0.9)]
    masks = np.stack([*wide, mask_of(one_of(n_vocab, 3, 5)), mask_of(one_of(n_vocab, 6))])
    mask_rows = rng.permutation(np.resize(np.arange(-1, len(masks)), n)).astype(np.int32)
    together, apart = Sampler(n_vocab, n), Sampler(n_vocab, 1)
    expected = []
    for slot in range(n):
        params = SamplingParams(seed=slot, logprobs=[None, 3][slot // 12], **(options if slot % 5 else {}))
        together.open(slot, params)
        apart.open(0, params)
        mask = mask_rows[slot : slot + 1]
        draws = apart.sample(logits, SLOT, masks=masks, mask_rows=mask)
        expected.append([array[0] for array in copied(draws)])
    slots = np.arange(n, dtype=np.int32)
    for part in (slots[:12], slots[12:]):  # without log-probabilities, less of the row is read
        found = copied(together.sample(logits, part, part * 0, masks=masks, mask_rows=mask_rows[part]))
        for at, slot in enumerate(part):
            for array, value in zip(found, expected[slot], strict=True):
                np.testing.assert_array_equal(array[at], value)


def test_choices_with_the_same_mask_draw_from_one_distribution() -> None:
    n_vocab, n = 1_000, 64
    logits, mask = some_rows(1, n_vocab), mask_of(one_of(n_vocab, 1, 500, 999))
    sampler = Sampler(n_vocab, n)
    for slot in range(n):
        sampler.open(slot, SamplingParams(seed=1, temperature=2.0), stream=slot)
    slots = np.arange(n, dtype=np.int32)
    draws = sampler.sample(logits, slots, slots * 0, masks=mask[None], mask_rows=slots * 0)
    assert set(draws.tokens.tolist()) == {1, 500, 999}


@pytest.mark.parametrize("count", [1, 400])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("options", OPTIONS[:6], ids=str)
def test_a_bad_logit_is_an_error_wherever_the_mask_is(
    value: float, count: int, options: dict[str, Any]
) -> None:
    n_vocab = 5_000
    logits = some_rows(1, n_vocab)
    logits[0, 4_999] = value
    sampler = Sampler(n_vocab, 1)
    sampler.open(0, SamplingParams(seed=0, **options))
    draws = sampler.sample(logits, SLOT, masks=mask_of(np.arange(n_vocab) < count)[None])
    assert draws.status[0] == (RowStatus.NAN_LOGIT if np.isnan(value) else RowStatus.INFINITE_LOGIT)
    assert draws.tokens[0] == -1


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("allowed", [0, 3, 300])
def test_without_an_allowed_finite_logit_there_is_no_draw(allowed: int, options: dict[str, Any]) -> None:
    n_vocab = 1_000
    logits = some_rows(1, n_vocab)
    logits[0, 10:] = -np.inf
    masks = mask_of((np.arange(n_vocab) >= 10) & (np.arange(n_vocab) < 10 + allowed), beyond=True)[None]
    sampler = Sampler(n_vocab, 1)
    sampler.open(0, SamplingParams(seed=0, logprobs=2, **options))
    draws = sampler.sample(logits, SLOT, masks=masks)
    assert (draws.status[0], draws.tokens[0]) == (RowStatus.NO_FINITE_LOGIT, -1)
    with pytest.raises(ValueError, match="nothing can be drawn"):
        sampler.distribution(logits[0], 0, masks[0])
    assert sampler.sample(logits, SLOT).status[0] == RowStatus.OK


def test_bias_cannot_bring_back_what_a_mask_excludes_and_log_probabilities_do_not_see_it() -> None:
    sampler = Sampler(4, 1)
    sampler.open(0, SamplingParams(seed=0, temperature=0.0, logit_bias={0: 100.0}, logprobs=2))
    logits = np.log(np.array([[0.5, 0.3, 0.15, 0.05]], np.float32))
    draws = sampler.sample(logits, SLOT, masks=int32(0b1100)[None])
    assert draws.tokens.tolist() == [2]
    assert draws.top_tokens[0, :2].tolist() == [0, 1]
    assert np.exp(draws.logprobs[0]) == pytest.approx(0.15, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"masks": np.zeros((2, 2), np.int32)}, ValueError, r"1 words \(32 tokens in each\), got 2"),
        ({"masks": np.zeros((1, 1), np.int32)}, ValueError, r"one row per slot \(2\), got 1"),
        ({"masks": np.zeros((2, 1), np.int64)}, ValueError, "dtype"),
        ({"masks": np.zeros((2, 2), np.int32)[:, :1]}, ValueError, "contiguous"),
        ({"masks": np.zeros(2, np.int32)}, ValueError, "dimensions"),
        ({"mask_rows": int32(0, 0)}, ValueError, "mask_rows must come with masks"),
        ({"masks": np.zeros((1, 1), np.int32), "mask_rows": int32(0)}, ValueError, r"per slot \(2\), got 1"),
        (
            {"masks": np.zeros((1, 1), np.int32), "mask_rows": int32(0, 1)},
            IndexError,
            r"mask_rows\[1\] must be in \[-1, 0\], got 1",
        ),
        (
            {"masks": np.zeros((0, 1), np.int32), "mask_rows": int32(-2, -1)},
            IndexError,
            r"mask_rows\[0\] must be in \[-1, -1\], got -2",
        ),
        ({"masks": np.zeros((0, 1), np.int32), "mask_rows": int32(-1, 0)}, IndexError, r"mask_rows\[1\]"),
    ],
)
def test_sample_refuses(options: dict[str, Any], error: type[Exception], message: str) -> None:
    sampler = Sampler(10, 2)
    for slot in range(2):
        sampler.open(slot, SamplingParams(seed=0))
    with pytest.raises(error, match=message):
        sampler.sample(np.zeros((2, 10), np.float32), int32(0, 1), **options)
    with pytest.raises(ValueError, match=r"1 words \(32 tokens in each\), got 3"):
        sampler.distribution(np.zeros(10, np.float32), 0, int32(0, 0, 0))


def test_no_masks_at_all_is_a_size_too() -> None:
    sampler = Sampler(10, 1)
    sampler.open(0, SamplingParams(seed=0))
    none = np.zeros((0, 1), np.int32)
    row = np.zeros((1, 10), np.float32)
    assert sampler.sample(row, SLOT, masks=none, mask_rows=int32(-1)).status[0] == RowStatus.OK
    assert sampler.sample(row[:0], SLOT[:0], masks=none, mask_rows=SLOT[:0]).tokens.shape == (0,)


# --- advance ------------------------------------------------------------------------------------------------

PENALIZED = SamplingParams(
    seed=3, presence_penalty=0.8, frequency_penalty=0.3, repetition_penalty=1.3, temperature=1.2, logprobs=3
)


@pytest.mark.parametrize("params", [PENALIZED, SamplingParams(seed=3)], ids=["penalties", "plain"])
def test_a_slot_that_advanced_draws_as_one_that_generated(params: SamplingParams) -> None:
    n_vocab, tokens = 100, [5, 7, 5, 99, 0, 5]
    advanced, opened = Sampler(n_vocab, 1), Sampler(n_vocab, 1)
    advanced.open(0, params, prompt=[1, 7], generated=tokens[:2])
    advanced.advance(0, tokens[2:4])
    advanced.advance(0, np.array(tokens[4:], np.int32))
    advanced.advance(0, [])
    opened.open(0, params, prompt=[1, 7], generated=tokens)
    for row in some_rows(20, n_vocab):
        assert_same_bits(copied(advanced.sample(row[None], SLOT)), copied(opened.sample(row[None], SLOT)))


@pytest.mark.parametrize(
    ("slot", "tokens", "error", "message"),
    [
        (2, [0], IndexError, r"slot must be in \[0, 1\], got 2"),
        (-1, [0], IndexError, "got -1"),
        (1, [0], ValueError, "slot 1 is not open"),
        (0, [1, 10], ValueError, r"token ids in tokens must be in \[0, 9\], got 10"),
        (0, [1, -1], ValueError, "got -1"),
        (0, [0.5], TypeError, "integers"),
    ],
)
def test_advance_refuses(slot: int, tokens: Any, error: type[Exception], message: str) -> None:
    sampler, fresh = Sampler(10, 2), Sampler(10, 2)
    for each in (sampler, fresh):
        each.open(0, PENALIZED)
    with pytest.raises(error, match=message):
        sampler.advance(slot, tokens)
    row = some_rows(1, 10)
    assert_same_bits(copied(sampler.sample(row, SLOT)), copied(fresh.sample(row, SLOT)))
