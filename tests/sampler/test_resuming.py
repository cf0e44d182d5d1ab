"""A slot's life: open, sample, close, open again, resume."""

from __future__ import annotations

import numpy as np
import pytest

from engine.sampling import Sampler, SamplingParams

N_VOCAB = 100
SLOT = np.array([0], np.int32)
PENALIZED = SamplingParams(
    seed=3, presence_penalty=0.8, frequency_penalty=0.3, repetition_penalty=1.3, temperature=1.2, logprobs=3
)
PLAIN = SamplingParams(seed=3, logprobs=3)


def rows() -> np.ndarray:
    return np.random.default_rng(8).normal(0, 1, (60, 1, N_VOCAB)).astype(np.float32)


@pytest.mark.parametrize("params", [PENALIZED, PLAIN], ids=["penalties", "plain"])
@pytest.mark.parametrize("stop", [0, 1, 17, 59])
def test_a_resumed_choice_goes_on_as_if_never_stopped(params: SamplingParams, stop: int) -> None:
    prompt = [5, 6, 7, 5]
    whole = Sampler(N_VOCAB, 1)
    whole.open(0, params, stream=2, prompt=prompt)
    tokens = [int(whole.sample(row, SLOT).tokens[0]) for row in rows()]
    resumed = Sampler(N_VOCAB, 1)
    resumed.open(0, params, stream=2, prompt=prompt, generated=np.array(tokens[:stop], np.int32))
    assert [int(resumed.sample(row, SLOT).tokens[0]) for row in rows()[stop:]] == tokens[stop:]


def test_opening_a_slot_again_forgets_what_was_in_it() -> None:
    sampler = Sampler(N_VOCAB, 1)
    first = []
    for _ in range(3):
        sampler.open(0, PENALIZED, prompt=list(range(90)))
        first.append([int(sampler.sample(row, SLOT).tokens[0]) for row in rows()])
        sampler.open(0, SamplingParams(seed=1, logit_bias=dict.fromkeys(range(50), -np.inf)))
        assert sampler.sample(rows()[0], SLOT).tokens[0] >= 50
    assert first[0] == first[1] == first[2]


def test_a_closed_slot_refuses_and_opens_again() -> None:
    sampler = Sampler(N_VOCAB, 2)
    sampler.open(0, PLAIN)
    sampler.close(0)
    sampler.close(0)
    sampler.close(1)
    with pytest.raises(ValueError, match="slots\\[0\\] is 0, which is not open"):
        sampler.sample(rows()[0], SLOT)
    sampler.open(0, PLAIN)
    assert sampler.sample(rows()[0], SLOT).tokens[0] >= 0


def test_a_refused_open_leaves_the_slot_as_it_was() -> None:
    sampler = Sampler(N_VOCAB, 1)
    sampler.open(0, SamplingParams(seed=0, temperature=0.0, logit_bias={77: 100.0}))
    with pytest.raises(ValueError, match="generated"):
        sampler.open(0, PLAIN, generated=[N_VOCAB])
    assert sampler.sample(rows()[0], SLOT).tokens[0] == 77


def test_many_thousand_different_tokens_are_counted_right() -> None:
    n_vocab = 50_000
    sampler = Sampler(n_vocab, 1)
    params = SamplingParams(seed=0, temperature=0.0, frequency_penalty=1.0)
    generated = np.repeat(np.arange(20_000, dtype=np.int32)[::-1], 2)
    sampler.open(0, params, generated=generated)
    logits = np.full((1, n_vocab), -10.0, np.float32)
    logits[0, :20_000] = 0.0
    logits[0, 19_999] = 0.5
    for expected in (19_999, 0, 1, 2):  # each draw takes one more from its token
        assert sampler.sample(logits, SLOT).tokens[0] == expected


def test_arrays_of_one_call_are_views_that_the_next_call_overwrites() -> None:
    sampler = Sampler(N_VOCAB, 2, max_logprobs=4)
    for slot in range(2):
        sampler.open(slot, SamplingParams(seed=slot, logprobs=4))
    logits = rows()[:2, 0]
    first = sampler.sample(logits, np.array([0, 1], np.int32))
    assert first.top_tokens.shape == first.top_logprobs.shape == (2, 4)
    kept = first.tokens.copy()
    second = sampler.sample(logits[::-1].copy(), np.array([0, 1], np.int32))
    assert np.shares_memory(first.tokens, second.tokens)
    assert kept.tolist() != second.tokens.tolist()
    del sampler
    assert (second.tokens >= 0).all()
