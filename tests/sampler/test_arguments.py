"""Wrong arguments are refused with the value and the limit, before anything is drawn."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.sampling import Sampler, SamplingParams

N_VOCAB, SLOTS = 10, 4
PARAMS = SamplingParams(seed=0)


def opened() -> Sampler:
    sampler = Sampler(N_VOCAB, SLOTS, max_logprobs=5)
    for slot in range(3):
        sampler.open(slot, PARAMS)
    return sampler


def int32(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def rows(n: int) -> np.ndarray:
    return np.zeros((n, N_VOCAB), np.float32)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((rows(1), int32(4)), IndexError, r"slots\[0\] must be in \[0, 3\], got 4"),
        ((rows(2), int32(0, -1)), IndexError, r"slots\[1\] must be in \[0, 3\], got -1"),
        ((rows(1), int32(3)), ValueError, r"slots\[0\] is 3, which is not open"),
        ((rows(2), int32(1, 1)), ValueError, r"slots\[1\] is 1, which is in the batch already"),
        ((rows(2), int32(0, 1), int32(0, 2)), IndexError, r"rows\[1\] must be in \[0, 1\], got 2"),
        ((rows(2), int32(0, 1), int32(-1, 0)), IndexError, r"rows\[0\] must be in \[0, 1\], got -1"),
        ((rows(2), int32(0)), ValueError, r"one entry per row of logits \(2\), got 1"),
        ((rows(2), int32(0), int32(0, 1)), ValueError, r"one entry per slot \(1\), got 2"),
        ((rows(5), int32(0, 1, 2, 0, 1)), ValueError, r"at most 4 entries \(max_slots\), got 5"),
        ((rows(0), int32(0), int32(0)), ValueError, r"got 0 rows for 1 slots"),
        ((np.zeros((1, 9), np.float32), int32(0)), ValueError, r"10 columns \(n_vocab\), got 9"),
        ((rows(1).astype(np.float64), int32(0)), ValueError, "dtype"),
        ((rows(2).T, int32(0)), ValueError, "contiguous"),
        ((rows(2)[0], int32(0)), ValueError, "dimensions"),
        ((rows(1), np.array([0])), ValueError, "dtype"),
        ((rows(1), int32(0), np.array([0])), ValueError, "dtype"),
        ((None, int32(0)), TypeError, "logits"),
        ((rows(1), None), TypeError, "slots"),
        ((rows(1), [0]), TypeError, "bytes-like"),
    ],
)
def test_sample_refuses(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        opened().sample(*arguments)


def test_a_refused_batch_draws_nothing() -> None:
    logits = np.random.default_rng(0).normal(0, 1, (3, N_VOCAB)).astype(np.float32)
    expected = opened().sample(logits, int32(0, 1, 2)).tokens.tolist()
    sampler = opened()
    for bad in (int32(0, 1, 3), int32(0, 1, 1), int32(0, 1, 9)):
        with pytest.raises((ValueError, IndexError)):
            sampler.sample(logits, bad)
    assert sampler.sample(logits, int32(0, 1, 2)).tokens.tolist() == expected


def test_an_empty_batch_is_nothing() -> None:
    draws = opened().sample(rows(0), int32())
    assert draws.tokens.shape == (0,)
    assert draws.top_tokens.shape == (0, 5)


def test_no_alternatives_at_all_is_a_size_too() -> None:
    sampler = Sampler(N_VOCAB, 1, max_logprobs=0)
    sampler.open(0, SamplingParams(seed=0, logprobs=0))
    draws = sampler.sample(rows(1), int32(0))
    assert draws.top_logprobs.shape == (1, 0)
    assert draws.logprobs[0] == pytest.approx(-np.log(N_VOCAB))


@pytest.mark.parametrize(
    ("slot", "options", "error", "message"),
    [
        (4, {}, IndexError, r"slot must be in \[0, 3\], got 4"),
        (-1, {}, IndexError, r"slot must be in \[0, 3\], got -1"),
        (0.5, {}, TypeError, "float"),
        (0, {"stream": -1}, ValueError, r"stream must be in \[0, 4294967295\], got -1"),
        (0, {"stream": 2**32}, ValueError, r"got 4294967296"),
        (0, {"prompt": [0, 10]}, ValueError, r"prompt must be in \[0, 9\], got 10"),
        (0, {"generated": [-1]}, ValueError, r"generated must be in \[0, 9\], got -1"),
        (0, {"prompt": [0.5]}, TypeError, "integers"),
        (0, {"prompt": ["a"]}, TypeError, "integers"),
        (0, {"prompt": [[1]]}, ValueError, "one dimension"),
        (0, {"generated": [2**70]}, TypeError, "integers"),
        (0, {"generated": np.array([2**63], np.uint64)}, ValueError, r"got 9223372036854775808"),
    ],
)
def test_open_refuses(slot: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        opened().open(slot, PARAMS, **options)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (SamplingParams(seed=0, logprobs=6), r"logprobs must be in \[0, 5\], got 6"),
        (SamplingParams(seed=0, logit_bias={10: 1.0}), r"logit_bias must be in \[0, 9\], got 10"),
        (SamplingParams(seed=0, logit_bias={-1: 1.0}), r"logit_bias must be in \[0, 9\], got -1"),
    ],
)
def test_open_refuses_parameters_beyond_the_samplers_size(params: SamplingParams, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        opened().open(0, params)


@dataclass
class Unchecked:
    """Looks like SamplingParams, but nobody has looked at its numbers."""

    seed: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Any = ()
    logprobs: int | None = None


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": np.nan},
        {"temperature": -1.0},
        {"top_p": 0.0},
        {"top_p": np.nan},
        {"min_p": 1.5},
        {"presence_penalty": np.inf},
        {"frequency_penalty": np.nan},
        {"repetition_penalty": 0.0},
        {"top_k": -3},
        {"seed": -1},
        {"logprobs": -1},
        {"logit_bias": {1: np.nan}},
        {"logit_bias": {1: np.inf}},
    ],
)
def test_no_unchecked_number_reaches_the_kernels(change: dict[str, Any]) -> None:
    params: Any = Unchecked(**{"logit_bias": {}, **change})
    with pytest.raises(ValueError, match=r"must be in|out of its range|must be finite"):
        opened().open(0, params)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0, 1), {}, r"n_vocab must be in \[1, 1073741824\], got 0"),
        ((2**31, 1), {}, r"n_vocab must be in \[1, 1073741824\], got 2147483648"),
        ((10, 0), {}, r"max_slots must be in \[1, 2147483647\], got 0"),
        ((10, 1), {"threads": 0}, r"threads must be in \[1, 1024\], got 0"),
        ((10, 1), {"max_logprobs": -1}, r"max_logprobs must be in \[0, 2147483647\], got -1"),
    ],
)
def test_a_sampler_of_no_size_is_refused(
    arguments: tuple[int, int], options: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Sampler(*arguments, **options)


def test_sizes_are_read_only_properties() -> None:
    sampler = opened()
    assert (sampler.n_vocab, sampler.max_slots, sampler.max_logprobs) == (10, 4, 5)
    with pytest.raises(AttributeError):
        sampler.n_vocab = 3  # type: ignore[misc]


def test_close_and_distribution_refuse_what_is_out_of_range() -> None:
    sampler = opened()
    with pytest.raises(IndexError, match="got 4"):
        sampler.close(4)
    with pytest.raises(IndexError, match="got -1"):
        sampler.distribution(rows(1)[0], -1)
    with pytest.raises(ValueError, match="slot 3 is not open"):
        sampler.distribution(rows(1)[0], 3)
    with pytest.raises(ValueError, match=r"10 entries \(n_vocab\), got 9"):
        sampler.distribution(np.zeros(9, np.float32), 0)


RANGES: dict[str, st.SearchStrategy[Any]] = {
    "seed": st.integers(0, 2**64 - 1),
    "temperature": st.floats(0, allow_infinity=False),
    "top_p": st.floats(0, 1, exclude_min=True),
    "top_k": st.integers(0, 2**70),
    "min_p": st.floats(0, 1),
    "presence_penalty": st.floats(allow_nan=False, allow_infinity=False),
    "frequency_penalty": st.floats(allow_nan=False, allow_infinity=False),
    "repetition_penalty": st.floats(0, exclude_min=True, allow_infinity=False),
    "logit_bias": st.dictionaries(st.integers(0, N_VOCAB - 1), st.floats(max_value=1e308, allow_nan=False)),
    "logprobs": st.none() | st.integers(0, 5),
}
LOGITS = st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=10, max_size=10)
TOKENS = st.lists(st.integers(0, N_VOCAB - 1), max_size=6)


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(st.fixed_dictionaries(RANGES), LOGITS, TOKENS, TOKENS)
def test_all_valid_parameters_draw_a_token_of_their_distribution(
    values: dict[str, Any], logits: list[float], prompt: list[int], generated: list[int]
) -> None:
    assert set(values) == {field.name for field in fields(SamplingParams)}
    sampler = opened()
    sampler.open(0, SamplingParams(**values), prompt=prompt, generated=generated)
    row = np.array([logits], np.float32)
    draws = sampler.sample(row, int32(0))
    if draws.tokens[0] == -1:
        banned = [token for token, bias in values["logit_bias"].items() if bias == -np.inf]
        assert len(banned) == N_VOCAB
        return
    sampler.open(0, SamplingParams(**values), prompt=prompt, generated=generated)
    ids, probabilities = sampler.distribution(row[0], 0)
    assert draws.tokens[0] in ids
    assert probabilities.sum() == pytest.approx(1.0)


OUTSIDE = [
    ("seed", -1),
    ("seed", 2**64),
    ("temperature", -0.1),
    ("temperature", np.inf),
    ("top_p", 0.0),
    ("top_p", 1.01),
    ("top_k", -1),
    ("min_p", -0.01),
    ("min_p", 1.01),
    ("presence_penalty", np.inf),
    ("frequency_penalty", -np.inf),
    ("repetition_penalty", 0.0),
    ("repetition_penalty", np.inf),
    ("logit_bias", {3: np.inf}),
    ("logprobs", -1),
    *((name, np.nan) for name in ("temperature", "top_p", "min_p", "presence_penalty", "repetition_penalty")),
    ("frequency_penalty", np.nan),
    ("logit_bias", {3: np.nan}),
]


@pytest.mark.parametrize(("name", "value"), OUTSIDE)
def test_params_out_of_range_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name}.* must be .*got"):
        SamplingParams(**{"seed": 0, name: value})


def test_params_are_frozen_and_named() -> None:
    with pytest.raises(AttributeError):
        PARAMS.seed = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        SamplingParams(0)  # type: ignore[call-arg]
