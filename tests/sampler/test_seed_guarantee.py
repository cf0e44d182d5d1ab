"""The written guarantee: these tokens for these seeds, on every machine, until a major version.

A failure here is a broken promise to users, never a test to update.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.sampling import Sampler, SamplingParams

POSITIONS = 12


def logits(n_vocab: int) -> np.ndarray:
    """Return rows made of small integers over 16: exact in every format, different at every position."""
    ids = np.arange(n_vocab)
    return np.stack([((ids * 7919 + 104729 * position) % 257) / 16 for position in range(POSITIONS)]).astype(
        np.float32
    )


def tokens(n_vocab: int, stream: int = 0, **params: Any) -> list[int]:
    sampler = Sampler(n_vocab, 1)
    sampler.open(0, SamplingParams(**params), stream=stream, prompt=[1, 2, 3])
    slot = np.array([0], np.int32)
    return [int(sampler.sample(row[None], slot).tokens[0]) for row in logits(n_vocab)]


GOLDEN: list[tuple[int, int, dict[str, Any], list[int]]] = [
    (1000, 0, {"seed": 0}, [407, 972, 27, 801, 932, 442, 707, 651, 252, 592, 841, 635]),
    (1000, 1, {"seed": 0}, [520, 801, 782, 132, 814, 849, 54, 78, 745, 833, 568, 41]),
    (1000, 0, {"seed": 1}, [900, 672, 248, 764, 252, 153, 440, 480, 852, 223, 279, 619]),
    (
        1000,
        4294967295,
        {"seed": 18446744073709551615, "temperature": 2.0},
        [150, 480, 359, 806, 976, 865, 541, 742, 162, 14, 408, 512],
    ),
    (
        32000,
        0,
        {"seed": 42, "temperature": 0.7, "top_p": 0.9},
        [19575, 31587, 26364, 23283, 10414, 10053, 7207, 11429, 17498, 8495, 16770, 10460],
    ),
    (
        32000,
        3,
        {"seed": 42, "temperature": 1.3, "top_k": 50, "min_p": 0.02},
        [680, 6840, 4262, 2969, 3732, 2953, 7314, 4993, 7555, 6519, 8053, 3419],
    ),
    (
        49152,
        0,
        {
            "seed": 81985529216486895,
            "temperature": 0.7,
            "top_p": 0.95,
            "presence_penalty": 0.5,
            "frequency_penalty": 0.5,
            "repetition_penalty": 1.1,
        },
        [35359, 33311, 47588, 33022, 30696, 16740, 18349, 27320, 42679, 21329, 36072, 21136],
    ),
    (
        262144,
        7,
        {
            "seed": 81985529216486895,
            "temperature": 0.7,
            "top_p": 0.95,
            "presence_penalty": 0.5,
            "frequency_penalty": 0.5,
            "repetition_penalty": 1.1,
        },
        [53863, 255616, 108192, 54112, 72303, 66732, 14039, 218726, 3695, 176348, 254516, 234098],
    ),
    (
        262144,
        0,
        {"seed": 7, "temperature": 100.0},
        [250241, 106682, 1592, 102288, 76003, 88765, 210424, 70948, 3327, 148915, 198688, 207861],
    ),
]


@pytest.mark.parametrize(("n_vocab", "stream", "params", "expected"), GOLDEN)
def test_a_seed_draws_what_it_always_drew(
    n_vocab: int, stream: int, params: dict[str, Any], expected: list[int]
) -> None:
    assert tokens(n_vocab, stream, **params) == expected
