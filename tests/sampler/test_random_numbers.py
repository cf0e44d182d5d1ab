"""The generator, its published vectors, and what is drawn with it: every token, in the right proportion."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from engine._sampler import philox4x32, uniform
from engine.sampling import Sampler, SamplingParams
from tests.sampler import oracle
from tests.sampler.oracle import Choice, chi_square_limit

# From Random123's kat_vectors, lines "philox4x32 10": counter, key, output.
KNOWN_ANSWERS = [
    ([0, 0, 0, 0], [0, 0], (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ([2**32 - 1] * 4, [2**32 - 1] * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_gives_its_published_answers(
    counter: list[int], key: list[int], answer: tuple[int, int, int, int]
) -> None:
    assert philox4x32(counter, key) == answer
    words = oracle.philox4x32(np.array(counter, np.uint64), np.array(key, np.uint64))
    assert tuple(words.tolist()) == answer


@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**64 - 1, 0x0123456789ABCDEF])
@pytest.mark.parametrize("stream", [0, 1, 2**32 - 1])
@pytest.mark.parametrize("position", [0, 1, 2**32 + 5, 2**64 - 1])
def test_uniform_numbers_use_every_bit_of_seed_stream_and_position(
    seed: int, stream: int, position: int
) -> None:
    assert uniform(seed, stream, position) == oracle.uniforms([seed], [stream], [position])[0]


def test_uniform_numbers_are_multiples_of_2_to_the_minus_53_and_below_1() -> None:
    numbers = [uniform(3, 0, position) * 2**53 for position in range(1000)]
    assert all(number == int(number) < 2**53 for number in numbers)
    assert sum(int(number) & 1 for number in numbers) in range(400, 600)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("seed", (-1, 0, 0)),
        ("seed", (2**64, 0, 0)),
        ("stream", (0, 2**32, 0)),
        ("position", (0, 0, 2**64)),
    ],
)
def test_uniform_refuses_what_does_not_fit(name: str, arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=name):
        uniform(*arguments)


@pytest.mark.parametrize(
    ("counter", "key"), [([0, 0, 0], [0, 0]), ([0] * 4, [0]), ([0] * 4, [0, 2**32]), ([-1, 0, 0, 0], [0, 0])]
)
def test_philox_refuses_what_does_not_fit(counter: list[int], key: list[int]) -> None:
    with pytest.raises(ValueError, match="word"):
        philox4x32(counter, key)


def draw_many(sampler: Sampler, row: np.ndarray, slots: int, calls: int) -> np.ndarray:
    """Count the tokens that `slots` choices draw from one row at `calls` positions."""
    numbers = np.arange(slots, dtype=np.int32)
    rows = np.zeros(slots, np.int32)
    logits = row[None].astype(np.float32)
    counts = np.zeros(sampler.n_vocab, np.int64)
    for _ in range(calls):
        counts += np.bincount(sampler.sample(logits, numbers, rows).tokens, minlength=sampler.n_vocab)
    return counts


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(seed=0),
        SamplingParams(seed=0, temperature=0.7, top_p=0.9),
        SamplingParams(seed=0, temperature=1.5, top_k=20, min_p=0.01),
    ],
)
@pytest.mark.parametrize("one_seed", [True, False], ids=["many streams", "many seeds"])
def test_a_million_draws_follow_the_distribution(params: SamplingParams, one_seed: bool) -> None:
    slots, calls = 2_000, 500
    row = np.random.default_rng(5).normal(0, 1.5, 200).astype(np.float32)
    sampler = Sampler(len(row), slots, max_logprobs=0)
    for slot in range(slots):
        seed, stream = (12, slot) if one_seed else (slot * 0x9E3779B97F4A7C15 % 2**64, 0)
        sampler.open(
            slot,
            SamplingParams(
                seed=seed,
                temperature=params.temperature,
                top_p=params.top_p,
                top_k=params.top_k,
                min_p=params.min_p,
            ),
            stream=stream,
        )
    counts = draw_many(sampler, row, slots, calls)
    expected = oracle.distributions(row[None], [Choice(params)]).probabilities[0] * slots * calls
    kept = expected > 0
    assert counts[~kept].sum() == 0
    chi_square = float(((counts - expected)[kept] ** 2 / expected[kept]).sum())
    assert chi_square < chi_square_limit(int(kept.sum()) - 1)


def test_every_token_of_the_largest_vocabulary_is_drawn() -> None:
    n_vocab, slots, calls = 262_144, 16_384, 280
    sampler = Sampler(n_vocab, slots, max_logprobs=0)
    for slot in range(slots):
        sampler.open(slot, SamplingParams(seed=1), stream=slot)
    counts = draw_many(sampler, np.zeros(n_vocab), slots, calls)
    assert (counts > 0).all()
    expected = slots * calls / n_vocab
    assert ((counts - expected) ** 2).sum() / expected < chi_square_limit(n_vocab - 1)


def test_streams_and_seeds_are_unrelated() -> None:
    """Neighbouring (seed, stream, position) give pairs of numbers that fill the square evenly."""
    cells = 32
    for seeds, streams, positions in (
        ([7] * 20_001, range(20_001), [0] * 20_001),
        (range(20_001), [0] * 20_001, [0] * 20_001),
        ([7] * 20_001, [3] * 20_001, range(20_001)),
    ):
        numbers = [uniform(*key) for key in zip(seeds, streams, positions, strict=True)]
        square = np.zeros((cells, cells))
        for x, y in pairwise(numbers):
            square[int(x * cells), int(y * cells)] += 1
        expected = 20_000 / cells**2
        assert ((square - expected) ** 2).sum() / expected < chi_square_limit(cells**2 - 1)
