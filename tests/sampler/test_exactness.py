"""The sampler against the reference: kept sets, probabilities, drawn tokens and log-probabilities."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from engine.sampling import Sampler, SamplingParams
from tests.sampler import oracle
from tests.sampler.oracle import Choice

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

MAX_LOGPROBS = 20
LOGPROB_ERROR = 4e-6  # what docs/sampler.md promises


def random_logits(rng: np.random.Generator, rows: int, n_vocab: int) -> NDArray[np.float32]:
    """Return rows of every kind: flat to peaked, with ties, with bans, with extreme values."""
    scale = 10.0 ** rng.uniform(-2, 1.3, (rows, 1))
    logits = rng.normal(0.0, 1.0, (rows, n_vocab)) * scale + rng.choice([0.0, -300.0, 50.0], (rows, 1))
    tied = rng.random(rows) < 0.3
    logits[tied] = np.round(logits[tied] * 2) / 2
    logits[rng.random(rows) < 0.02] = 1.5
    huge = rng.random(rows) < 0.02
    logits[huge] *= 1e28
    banned = rng.random((rows, n_vocab)) < rng.choice([0.0, 0.3, 0.9], (rows, 1), p=[0.8, 0.1, 0.1])
    logits[banned] = -np.inf
    logits[np.arange(rows), rng.integers(n_vocab, size=rows)] = 2.0  # at least one token remains
    return np.asarray(logits, np.float32)


def random_choice(rng: Random, n_vocab: int) -> Choice:
    def some(value: float, off: float, share: float = 0.4) -> float:
        return value if rng.random() < share else off

    def tokens(most: int) -> list[int]:
        return [rng.randrange(n_vocab) for _ in range(rng.randrange(most))]

    top_p = rng.choice([1e-6, 0.1, 0.5, 0.9, 0.95, 0.999, 1 - 1e-12, rng.uniform(1e-3, 1)])
    bias = {token: rng.choice([-100.0, -1.5, 3.25, 100.0, -np.inf]) for token in tokens(5)}
    params = SamplingParams(
        seed=rng.randrange(2**64),
        temperature=rng.choice([0.0, 1e-3, 0.1, 0.7, 1.0, 1.0, 1.3, 2.0, rng.uniform(1e-3, 2)]),
        top_p=some(top_p, 1.0, 0.6),
        top_k=int(some(rng.randrange(1, n_vocab + 2), 0)),
        min_p=some(rng.choice([1.0, 0.3, 0.05, 1e-9]), 0.0, 0.2),
        presence_penalty=some(rng.uniform(-2, 2), 0.0),
        frequency_penalty=some(rng.uniform(-2, 2), 0.0),
        repetition_penalty=some(rng.uniform(0.5, 2), 1.0, 0.3),
        logit_bias=bias if rng.random() < 0.3 else {},
        logprobs=rng.randrange(MAX_LOGPROBS + 1) if rng.random() < 0.5 else None,
    )
    return Choice(params, stream=rng.randrange(2**32), prompt=tokens(8), generated=tokens(12))


def kept_masses(sampler: Sampler, logits: NDArray[np.float32]) -> NDArray[np.float64]:
    result = np.zeros(logits.shape)
    for slot, row in enumerate(logits):
        ids, probabilities = sampler.distribution(row, slot)
        assert (np.diff(ids) > 0).all()
        result[slot, ids] = probabilities
    return result


def check_logprobs(
    logits: NDArray[np.float32], choices: list[Choice], drawn: NDArray[np.int64], sampler: Sampler
) -> None:
    rows = len(logits)
    expected = oracle.logprobs(logits)
    best = np.argsort(-logits, axis=1, kind="stable")[:, :MAX_LOGPROBS]
    asked = np.array([-1 if choice.params.logprobs is None else choice.params.logprobs for choice in choices])
    draws = sampler.sample(logits, np.arange(rows, dtype=np.int32))
    np.testing.assert_array_equal(draws.tokens, drawn)

    own = np.where(asked >= 0, expected[np.arange(rows), drawn], np.nan)
    np.testing.assert_allclose(draws.logprobs, own, rtol=1e-12, atol=LOGPROB_ERROR)
    width = best.shape[1]
    used = np.arange(width) < asked[:, None]
    np.testing.assert_array_equal(draws.top_tokens[:, :width], np.where(used, best, -1))
    top = np.where(used, np.take_along_axis(expected, best, axis=1), np.nan)
    np.testing.assert_allclose(draws.top_logprobs[:, :width], top, rtol=1e-12, atol=LOGPROB_ERROR)
    assert (draws.top_tokens[:, width:] == -1).all()
    assert np.isnan(draws.top_logprobs[:, width:]).all()
    same = draws.top_tokens == drawn[:, None]
    assert (draws.top_logprobs[same] == np.broadcast_to(draws.logprobs[:, None], same.shape)[same]).all()


def check_batch(rng: np.random.Generator, sampler: Sampler, rows: int) -> int:
    """Compare a batch in every respect; return how many nuclei lay too near their border to be compared."""
    n_vocab = sampler.n_vocab
    logits = random_logits(rng, rows, n_vocab)
    dice = Random(int(rng.integers(2**32)))  # noqa: S311 - numpy's is slow for single numbers
    choices = [random_choice(dice, n_vocab) for _ in range(rows)]
    for row in np.flatnonzero(np.isneginf(oracle.adjusted(logits, choices)).all(axis=1)):
        choices[row].params = replace(choices[row].params, logit_bias={})  # it banned the last token left
    for slot, choice in enumerate(choices):
        sampler.open(
            slot, choice.params, stream=choice.stream, prompt=choice.prompt, generated=choice.generated
        )
    reference = oracle.distributions(logits, choices)
    probabilities = kept_masses(sampler, logits)
    differs = ((probabilities > 0) != reference.kept).any(axis=1)
    excused = differs & (reference.cutoff_distance < 1e-12)
    assert not (differs & ~excused).any(), [choices[row] for row in np.flatnonzero(differs & ~excused)]
    np.testing.assert_allclose(probabilities[~excused], reference.probabilities[~excused], rtol=1e-11, atol=0)
    # An excused row draws from the set that was kept, like any other.
    reference.mass[excused] = probabilities[excused]
    check_logprobs(logits, choices, oracle.draws(reference, choices), sampler)
    return int(excused.sum())


SIZES = [1, 2, 3, 5, 8, 17, 63, 64, 65, 100, 127, 128, 129, 200, 300, 511]


@pytest.mark.parametrize("n_vocab", SIZES)
def test_a_hundred_thousand_random_rows_equal_the_reference(n_vocab: int) -> None:
    rng = np.random.default_rng(n_vocab)
    batch = 256
    sampler = Sampler(n_vocab, batch, max_logprobs=MAX_LOGPROBS)
    batches = 100_000 // (batch * len(SIZES)) + 1
    excused = sum(check_batch(rng, sampler, batch) for _ in range(batches))
    assert excused <= 3


@pytest.mark.parametrize(("n_vocab", "rows"), [(5_000, 64), (49_152, 16), (262_144, 8)])
def test_real_vocabulary_sizes_equal_the_reference(n_vocab: int, rows: int) -> None:
    sampler = Sampler(n_vocab, rows, max_logprobs=MAX_LOGPROBS)
    rng = np.random.default_rng(n_vocab)
    assert check_batch(rng, sampler, rows) + check_batch(rng, sampler, rows) <= 1


@pytest.mark.parametrize("n_vocab", [49_152, 262_144])
@pytest.mark.parametrize("top_p", [0.5, 0.95])
@pytest.mark.parametrize("kind", ["flat", "peaked", "zipf", "equal", "two values"])
def test_nuclei_of_every_shape_equal_the_reference(n_vocab: int, top_p: float, kind: str) -> None:
    rng = np.random.default_rng(7)
    shapes: dict[str, Callable[[], NDArray[np.float64]]] = {
        "flat": lambda: rng.normal(0, 0.01, n_vocab),
        "peaked": lambda: rng.normal(0, 4, n_vocab),
        "zipf": lambda: -rng.permutation(np.log(np.arange(1, n_vocab + 1))),
        "equal": lambda: np.full(n_vocab, -3.0),
        "two values": lambda: rng.choice([0.0, 1.0], n_vocab),
    }
    logits = shapes[kind]().astype(np.float32)
    sampler = Sampler(n_vocab, 1)
    params = SamplingParams(seed=0, top_p=top_p, temperature=0.7)
    sampler.open(0, params)
    reference = oracle.distributions(logits[None], [Choice(params)])
    ids, probabilities = sampler.distribution(logits, 0)
    assert ids.tolist() == np.flatnonzero(reference.kept[0]).tolist() or reference.cutoff_distance[0] < 1e-12
    assert probabilities.sum() == pytest.approx(1.0, abs=1e-12)
    assert abs(int(reference.kept.sum()) - len(ids)) <= 1


def test_a_token_of_vanishing_probability_is_left_out_and_one_above_stays() -> None:
    sampler = Sampler(3, 1)
    sampler.open(0, SamplingParams(seed=0))
    ids, probabilities = sampler.distribution(np.array([0, -707.9, -708.1], np.float32), 0)
    assert ids.tolist() == [0, 1]
    assert probabilities[1] == pytest.approx(np.exp(np.float64(np.float32(-707.9))), rel=1e-12)


def test_exponentials_are_right_to_the_last_bits_of_their_exponents() -> None:
    n_vocab = 100_001
    logits = -np.linspace(0, 700, n_vocab, dtype=np.float32)
    sampler = Sampler(n_vocab, 1)
    sampler.open(0, SamplingParams(seed=0))
    ids, probabilities = sampler.distribution(logits, 0)
    assert len(ids) == n_vocab
    exact = np.exp(logits.astype(np.float64))
    errors = np.abs(probabilities / probabilities[0] / exact - 1.0)
    assert (errors <= 1e-14 - 2e-16 * logits).all()


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-3, 1e300])
def test_extreme_temperatures_and_logits_make_neither_overflow_nor_nan(temperature: float) -> None:
    logits = np.array([[1e30, -1e30, 1e30, 0, -np.inf, 1e-45, -3e38]], np.float32)
    sampler = Sampler(7, 1)
    params = SamplingParams(seed=0, temperature=temperature, top_p=0.9, top_k=5)
    sampler.open(0, params)
    ids, probabilities = sampler.distribution(logits[0], 0)
    reference = oracle.distributions(logits, [Choice(params)])
    assert ids.tolist() == np.flatnonzero(reference.kept[0]).tolist()
    assert probabilities.sum() == pytest.approx(1.0)


def test_extreme_penalties_and_biases_make_no_nan() -> None:
    sampler = Sampler(4, 1)
    params = SamplingParams(
        seed=0,
        presence_penalty=-1e308,
        frequency_penalty=1.7e308,
        repetition_penalty=1e-308,
        logit_bias={1: 1.7e308, 2: -1.7e308},
    )
    sampler.open(0, params, prompt=[0, 1, 2, 3], generated=[0, 1, 2, 1, 1])
    ids, probabilities = sampler.distribution(np.array([1e30, 3e38, -3e38, -np.inf], np.float32), 0)
    assert np.isfinite(probabilities).all()
    assert 3 not in ids


@pytest.mark.parametrize("n_vocab", [49_152, 262_144])
@pytest.mark.parametrize("options", [{}, {"top_p": 0.95}, {"presence_penalty": 0.5}])
def test_every_draw_from_a_flat_row_is_that_of_float64(n_vocab: int, options: dict[str, float]) -> None:
    """A token's share is near the error of a float32 sum here: what that leaves open, float64 decides."""
    slots = 1_000
    row = np.random.default_rng(3).normal(0, 0.1, n_vocab).astype(np.float32)
    sampler = Sampler(n_vocab, slots, max_logprobs=0)
    choice = Choice(SamplingParams(seed=5, temperature=0.7, **options), generated=range(0, 4_000, 20))  # type: ignore[arg-type]
    reference = oracle.distributions(row[None], [choice])
    reached = np.cumsum(reference.mass[0])
    uniforms = oracle.uniforms([5] * slots, list(range(slots)), [200] * slots)
    expected = np.searchsorted(reached, uniforms * reached[-1], side="right")
    for slot in range(slots):
        sampler.open(slot, choice.params, stream=slot, generated=choice.generated)
    numbers = np.arange(slots, dtype=np.int32)
    draws = sampler.sample(row[None], numbers, np.zeros(slots, np.int32))
    assert reference.cutoff_distance[0] > 1e-12
    np.testing.assert_array_equal(draws.tokens, expected)
