"""What a choice draws depends on itself and its row, never on the rest of the call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from engine.sampling import Sampler, SamplingParams
from tests.sampler.oracle import copied

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_VOCAB = 500


def rows_of_logits(rows: int, seed: int = 3) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 2, (rows, N_VOCAB)).astype(np.float32)


def varied_params(i: int) -> SamplingParams:
    """Return parameters of one of several kinds, so that neighbours differ."""
    return SamplingParams(
        seed=1000 + i,
        temperature=[0.0, 0.7, 1.0, 1.0][i % 4],
        top_p=[1.0, 0.9, 0.5][i % 3],
        top_k=[0, 30][i % 2],
        presence_penalty=[0.0, 0.5][i % 2],
        repetition_penalty=[1.0, 1.2, 1.0][i % 3],
        logprobs=[None, 0, 5, 20][i % 4],
    )


def test_a_row_alone_and_anywhere_in_a_batch_of_64_draws_the_same() -> None:
    logits = rows_of_logits(64)
    alone = Sampler(N_VOCAB, 1)
    expected = []
    for i in range(64):
        alone.open(0, varied_params(i), stream=i, prompt=[i, 2], generated=[i, i + 1])
        expected.append(
            [array[0] for array in copied(alone.sample(logits[i : i + 1], np.array([0], np.int32)))]
        )
    order = np.random.default_rng(0).permutation(64)
    together = Sampler(N_VOCAB, 64)
    for slot in range(64):
        i = int(order[slot])
        together.open(slot, varied_params(i), stream=i, prompt=[i, 2], generated=[i, i + 1])
    for shuffled in (np.arange(64), np.arange(64)[::-1], np.random.default_rng(1).permutation(64)):
        for slot in range(64):
            i = int(order[slot])
            together.open(slot, varied_params(i), stream=i, prompt=[i, 2], generated=[i, i + 1])
        draws = together.sample(logits, shuffled.astype(np.int32), order[shuffled].astype(np.int32))
        for at, slot in enumerate(shuffled):
            for array, value in zip(copied(draws), expected[order[slot]], strict=True):
                np.testing.assert_array_equal(array[at], value)


@pytest.mark.parametrize("mixed", [False, True], ids=["equal params", "logprobs differ"])
@pytest.mark.parametrize("top_p", [1.0, 0.8])
def test_n_draws_from_one_row_equal_n_separate_calls(top_p: float, mixed: bool) -> None:
    n, logits = 16, rows_of_logits(3)
    together, apart = Sampler(N_VOCAB, n), Sampler(N_VOCAB, n)
    for sampler in (together, apart):
        for slot in range(n):
            logprobs = [5, 0, None, 20][slot % 4] if mixed else 5
            sampler.open(
                slot,
                SamplingParams(seed=9, top_p=top_p, logprobs=logprobs, logit_bias={4: 2.0}),
                stream=slot,
            )
    slots = np.arange(n, dtype=np.int32)
    shared = together.sample(logits, slots, np.full(n, 1, np.int32))
    assert len(set(shared.tokens.tolist())) > 1
    for slot in range(n):
        single = apart.sample(logits[1:2], slots[slot : slot + 1])
        for array, one in zip(copied(shared), copied(single), strict=True):
            np.testing.assert_array_equal(array[slot], one[0])


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.5},
        {"temperature": 0.0},
        {"top_p": 0.1},
        {"top_k": 3},
        {"min_p": 0.5},
        {"logit_bias": {}},
        {"logit_bias": {3: 6.0}},
        {"logit_bias": {4: 5.0}},
        {"logit_bias": {3: 5.0, 4: 6.0}},
    ],
)
def test_neighbours_that_differ_in_a_parameter_share_no_distribution(
    change: dict[str, Any],
) -> None:
    base = {"temperature": 0.9, "top_p": 0.9, "top_k": 100, "min_p": 0.001, "logit_bias": {3: 5.0}}
    logits = rows_of_logits(1)
    draws = 64
    together, apart = Sampler(N_VOCAB, draws), Sampler(N_VOCAB, 1)
    expected = []
    for slot in range(draws):
        params = SamplingParams(seed=slot // 2, **{**base, **(change if slot % 2 else {})})
        together.open(slot, params)
        apart.open(0, params)
        expected.append(int(apart.sample(logits, np.array([0], np.int32)).tokens[0]))
    assert expected[0::2] != expected[1::2]
    slots = np.arange(draws, dtype=np.int32)
    assert together.sample(logits, slots, np.zeros_like(slots)).tokens.tolist() == expected


def test_choices_that_penalize_different_tokens_do_not_share_a_distribution() -> None:
    logits = np.array([[3.0, 2.0, 1.0]], np.float32)
    sampler = Sampler(3, 3)
    params = SamplingParams(seed=0, temperature=0.0, presence_penalty=10.0)
    for slot, generated in enumerate(([], [0], [0, 1])):
        sampler.open(slot, params, generated=generated)
    slots = np.arange(3, dtype=np.int32)
    assert sampler.sample(logits, slots, np.zeros(3, np.int32)).tokens.tolist() == [0, 1, 2]


def test_streams_of_one_seed_draw_differently() -> None:
    logits = rows_of_logits(1)
    sampler = Sampler(N_VOCAB, 8)
    for slot in range(8):
        sampler.open(slot, SamplingParams(seed=1), stream=slot)
    slots = np.arange(8, dtype=np.int32)
    texts = np.array(
        [sampler.sample(logits, slots, np.zeros(8, np.int32)).tokens.copy() for _ in range(10)]
    ).T
    assert len({tuple(text) for text in texts.tolist()}) == 8


def test_the_logits_are_only_read() -> None:
    logits = rows_of_logits(4)
    logits.setflags(write=False)
    sampler = Sampler(N_VOCAB, 4)
    for slot in range(4):
        sampler.open(slot, SamplingParams(seed=1, presence_penalty=1.0), generated=[1])
    assert (sampler.sample(logits, np.arange(4, dtype=np.int32)).tokens >= 0).all()


def test_a_neighbour_that_draws_up_to_a_history_does_not_lend_its_distribution() -> None:
    """Slots advance when all draws are made: one that catches up with the next must not look equal to it."""
    sampler = Sampler(3, 2)
    params = SamplingParams(seed=1, temperature=0.0, presence_penalty=2.0)
    sampler.open(0, params, stream=0)
    sampler.open(1, params, stream=1, generated=[0])
    logits = np.array([[1.0, 0.0, -5.0]], np.float32)
    draws = sampler.sample(logits, np.array([0, 1], np.int32), np.array([0, 0], np.int32))
    assert draws.tokens.tolist() == [0, 1]
