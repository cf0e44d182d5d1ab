"""Bias and penalties on rows small enough to work out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.sampling import Sampler, SamplingParams


def final_logits(
    logits: list[float], *, prompt: list[int], generated: list[int], **params: Any
) -> np.ndarray:
    """Return the logits after bias and penalties, up to a constant: the logarithms of the probabilities."""
    sampler = Sampler(len(logits), 1)
    sampler.open(0, SamplingParams(seed=0, **params), prompt=prompt, generated=generated)
    ids, probabilities = sampler.distribution(np.array(logits, np.float32), 0)
    result = np.full(len(logits), -np.inf)
    result[ids] = np.log(probabilities)
    return np.asarray(result - result[0])


CASES: list[tuple[dict[str, Any], list[float]]] = [
    ({}, [0, 2, -2, 1]),
    ({"presence_penalty": 0.5}, [0, 1.5, -2, 0.5]),
    ({"frequency_penalty": 0.25}, [0, 1.25, -2, 0.75]),
    ({"presence_penalty": -0.5, "frequency_penalty": 0.25}, [0, 1.75, -2, 1.25]),
    ({"repetition_penalty": 2.0}, [0, 1, -4, 0.5]),
    ({"repetition_penalty": 0.5}, [0, 4, -1, 2]),
    ({"repetition_penalty": 2.0, "presence_penalty": 0.5, "frequency_penalty": 0.25}, [0, -0.25, -4, -0.25]),
    ({"logit_bias": {1: -1.0, 2: 3.0}}, [0, 1, 1, 1]),
    ({"logit_bias": {1: -np.inf}}, [0, -np.inf, -2, 1]),
    # The bias comes first: 2 - 3 is negative, so the penalty multiplies it; -2 + 3 is positive, it divides.
    ({"logit_bias": {1: -3.0, 2: 3.0}, "repetition_penalty": 2.0}, [0, -2, 0.5, 0.5]),
]


@pytest.mark.parametrize(("params", "expected"), CASES)
def test_bias_then_repetition_then_frequency_and_presence(
    params: dict[str, Any], expected: list[float]
) -> None:
    # Token 0 was never seen, 1 was generated three times, 2 is in the prompt only, 3 in both.
    result = final_logits([0, 2, -2, 1], prompt=[2, 2, 3], generated=[1, 3, 1, 1], **params)
    np.testing.assert_allclose(result, expected, atol=1e-12)


def test_the_drawn_token_is_counted() -> None:
    sampler = Sampler(2, 1)
    sampler.open(0, SamplingParams(seed=0, temperature=0.0, frequency_penalty=1.0))
    row, slot = np.array([[2.5, 0.0]], np.float32), np.array([0], np.int32)
    tokens = [int(sampler.sample(row, slot).tokens[0]) for _ in range(6)]
    assert tokens == [0, 0, 0, 1, 0, 1]  # 2.5, 1.5, 0.5, then -0.5 against 0, -0.5 against -1, ...


def test_prompt_tokens_count_for_the_repetition_penalty_only() -> None:
    result = final_logits([0, 1], prompt=[1], generated=[], presence_penalty=2.0, frequency_penalty=2.0)
    assert result[1] == pytest.approx(1.0)


def test_log_probabilities_are_those_of_the_raw_logits() -> None:
    sampler = Sampler(3, 1)
    params = SamplingParams(
        seed=0, temperature=0.0, logit_bias={2: 50.0, 0: -np.inf}, presence_penalty=2.0, logprobs=3
    )
    sampler.open(0, params, generated=[1])
    draws = sampler.sample(np.log(np.array([[0.5, 0.3, 0.2]], np.float32)), np.array([0], np.int32))
    assert draws.tokens.tolist() == [2]
    assert np.exp(draws.logprobs[0]) == pytest.approx(0.2, abs=1e-7)
    assert draws.top_tokens[0, :3].tolist() == [0, 1, 2]
    np.testing.assert_allclose(np.exp(draws.top_logprobs[0, :3]), [0.5, 0.3, 0.2], atol=1e-7)


def test_alternatives_reach_logits_of_minus_infinity_and_end_with_the_vocabulary() -> None:
    sampler = Sampler(4, 1, max_logprobs=6)
    sampler.open(0, SamplingParams(seed=0, logprobs=6))
    draws = sampler.sample(np.array([[-np.inf, 1.0, -np.inf, 1.0]], np.float32), np.array([0], np.int32))
    assert draws.top_tokens[0].tolist() == [1, 3, 0, 2, -1, -1]
    assert draws.top_logprobs[0, :4].tolist() == [-np.log(2), -np.log(2), -np.inf, -np.inf]
    assert np.isnan(draws.top_logprobs[0, 4:]).all()
