"""An independent reference for the sampler: numpy, float64, a full sort of every row, and its own Philox.

It is the readable form of ``docs/sampler.md``, whose eight steps it names, and it shares nothing
with the C code. Rows of one batch have the same vocabulary, and each has its own parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.sampling import Draws, SamplingParams

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

LOWEST = -708.0
"""Below this logarithm of its probability, relative to the best token's, a token has none."""

LOWEST_TEMPERATURE = 1e-300
"""Positive temperatures below this count as this."""


@dataclass
class Choice:
    """What a slot holds."""

    params: SamplingParams
    stream: int = 0
    prompt: Sequence[int] = ()
    generated: Sequence[int] = ()


@dataclass
class Reference:
    """The distributions of a batch of rows."""

    mass: Floats
    """[rows, n_vocab]: exp((logit - max) / temperature) of what is kept, 0 elsewhere."""
    cutoff_distance: Floats
    """[rows]: distance of the mass at a nucleus' cutoff from top_p: under 1e-12, rounding may move it."""

    @property
    def kept(self) -> Bools:
        return self.mass > 0

    @property
    def probabilities(self) -> Floats:
        return np.asarray(self.mass / self.mass.sum(axis=1, keepdims=True))


def allowed(mask: NDArray[np.int32], n_vocab: int) -> Bools:
    """Return which tokens a mask allows: bit ``j % 32`` of word ``j // 32`` is that of token ``j``."""
    token = np.arange(n_vocab)
    return np.asarray(mask.astype(np.int64)[token // 32] >> (token % 32) & 1, np.bool_)


def mask_of(allowed: Bools, beyond: bool = False) -> NDArray[np.int32]:
    """Return the mask that allows these tokens; ``beyond``: what its bits behind the last token are."""
    bits = np.full(-(-len(allowed) // 32) * 32, beyond)
    bits[: len(allowed)] = allowed
    return np.packbits(bits, bitorder="little").view("<i4").astype(np.int32)


def adjusted(
    logits: NDArray[np.float32],
    choices: Sequence[Choice],
    masks: Sequence[NDArray[np.int32] | None] | None = None,
) -> Floats:
    """Return the logits after bias and mask, then repetition, then frequency and presence."""
    result = logits.astype(np.float64)
    n_vocab = logits.shape[1]
    for row, choice, mask in zip(result, choices, masks or [None] * len(choices), strict=True):
        params = choice.params
        # step 2: bias and mask
        for token, bias in params.logit_bias.items():
            row[token] += bias
        if mask is not None:
            row[~allowed(mask, n_vocab)] = -np.inf
        # step 3: penalties
        counts = np.bincount(np.asarray(choice.generated, np.int64), minlength=n_vocab)
        if params.repetition_penalty != 1.0:
            seen = counts > 0
            seen[np.asarray(choice.prompt, np.int64)] = True
            repeated = np.where(row > 0, row / params.repetition_penalty, row * params.repetition_penalty)
            row[seen] = repeated[seen]
        used = counts > 0
        row[used] -= (counts * params.frequency_penalty + params.presence_penalty)[used]
    return result


def distributions(
    logits: NDArray[np.float32],
    choices: Sequence[Choice],
    masks: Sequence[NDArray[np.int32] | None] | None = None,
) -> Reference:
    """Sort every row in full and apply temperature, min_p, top_k and top_p."""
    final = adjusted(logits, choices, masks)
    rows, n_vocab = final.shape

    def column(name: str) -> Floats:
        return np.array([[getattr(choice.params, name)] for choice in choices], np.float64)

    temperature, top_p, top_k, min_p = map(column, ("temperature", "top_p", "top_k", "min_p"))
    order = np.argsort(-final, axis=1, kind="stable")  # larger first, ties to the lowest id
    descending = np.take_along_axis(final, order, axis=1)
    # step 4: temperature
    with np.errstate(over="ignore"):
        divisor = np.where(temperature == 0, 1.0, np.maximum(temperature, LOWEST_TEMPERATURE))
        scaled = (descending - descending[:, :1]) / divisor
    mass = np.where(scaled >= LOWEST, np.exp(np.maximum(scaled, LOWEST)), 0.0)
    rank = np.arange(n_vocab)[None, :]
    # step 5: min-p
    mass[mass < min_p] = 0.0
    # step 6: top-k
    mass[(top_k > 0) & (rank >= top_k)] = 0.0
    # step 7: top-p
    reached = np.cumsum(mass, axis=1)
    share = reached / reached[:, -1:]
    before = np.concatenate([np.zeros((rows, 1)), share[:, :-1]], axis=1)
    mass[(top_p < 1) & (before >= top_p)] = 0.0
    cutoff_distance = np.where(top_p[:, 0] < 1, np.abs(share - top_p).min(axis=1), 1.0)
    # step 4 again: at temperature 0 the best token alone is kept
    mass[(temperature == 0) & (rank > 0)] = 0.0

    result = np.zeros_like(mass)
    np.put_along_axis(result, order, mass, axis=1)
    return Reference(result, cutoff_distance)


def logprobs(logits: NDArray[np.float32]) -> Floats:
    """Return log softmax of the raw logits, row by row (step 1)."""
    wide = logits.astype(np.float64)
    shifted = wide - wide.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def philox4x32(counter: NDArray[np.uint64], key: NDArray[np.uint64], rounds: int = 10) -> NDArray[np.uint64]:
    """Philox4x32 on [..., 4] counters and [..., 2] keys; words are kept in 64 bits."""
    low = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    c0, c1, c2, c3 = (counter[..., i].copy() for i in range(4))
    k0, k1 = (key[..., i].copy() for i in range(2))
    for _ in range(rounds):
        first, second = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (second >> half) ^ c1 ^ k0, second & low, (first >> half) ^ c3 ^ k1, first & low
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & low, (k1 + np.uint64(0xBB67AE85)) & low
    return np.stack([c0, c1, c2, c3], axis=-1)


def uniforms(seeds: Sequence[int], streams: Sequence[int], positions: Sequence[int]) -> Floats:
    """Return the uniform number of each draw: 53 bits from the first two words."""
    low = 0xFFFFFFFF
    key = np.array([(seed & low, seed >> 32) for seed in seeds], np.uint64)
    counter = np.array([(p & low, p >> 32, s, 0) for s, p in zip(streams, positions, strict=True)], np.uint64)
    words = philox4x32(counter, key)
    bits = (words[:, 0] >> np.uint64(5)) * np.uint64(2**26) + (words[:, 1] >> np.uint64(6))
    return bits.astype(np.float64) / 2.0**53


def draw(mass: Floats, uniform: Floats) -> Ints:
    """Return the first token, in order of id, at which the mass exceeds uniform * total (step 8)."""
    reached = np.cumsum(mass, axis=1)
    beyond = reached > (uniform * reached[:, -1])[:, None]
    last = mass.shape[1] - 1 - np.argmax(mass[:, ::-1] > 0, axis=1)
    return np.asarray(np.where(beyond.any(axis=1), beyond.argmax(axis=1), last))


def draws(reference: Reference, choices: Sequence[Choice]) -> Ints:
    """Return the token that each choice draws from its row."""
    return draw(
        reference.mass,
        uniforms(
            [choice.params.seed for choice in choices],
            [choice.stream for choice in choices],
            [len(choice.generated) for choice in choices],
        ),
    )


def copied(draws: Draws) -> list[NDArray[Any]]:
    """Return the arrays of one call, safe from the next."""
    return [array.copy() for array in draws]


def chi_square_limit(degrees: int, z: float = 4.75) -> float:
    """Return the chi-square value exceeded with the normal tail probability of z (4.75: one in a million).

    E. B. Wilson, M. M. Hilferty, "The distribution of chi-square", PNAS 17 (1931).
    """
    variance = 2.0 / (9.0 * degrees)
    return float(degrees * (1.0 - variance + z * np.sqrt(variance)) ** 3)
