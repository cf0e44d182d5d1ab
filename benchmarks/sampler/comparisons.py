"""The lines of the table: which sides take turns, and what their times are meant to give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from benchmarks.sampler.sides import Rows, Side, by_numpy, by_torch, llama_chain, nucleus, one_call, one_read
from engine.sampling import KERNELS, SamplingParams

Maker = Callable[[Rows], Side]


class Kind(NamedTuple):
    """How a figure comes out of our time, in microseconds, and the ratio of the other time to ours."""

    meaning: str
    figure: Callable[[float, float], float]
    form: str
    sign: str = "≤"


_FASTER = Kind("the other time over ours; more is better", lambda _, ratio: ratio, "{:.3g}x", "≥")
_COSTS = Kind("our time over the other; less is better", lambda _, ratio: 1 / ratio, "{:.3g}x")
_ADDS = Kind("our time over the other, less one; less is better", lambda _, ratio: 1 / ratio - 1, "{:+.1%}")
_TAKES = Kind("our time in microseconds; less is better", lambda ours, _: ours, "{:.1f} µs")


@dataclass(frozen=True)
class Comparison:
    """A line of the table; each model has one."""

    title: str
    kind: Kind
    sides: Sequence[Maker]
    """Our side and, unless our time alone is the figure, the other."""
    goals: tuple[float | None, float | None] = (None, None)
    """For a vocabulary of some 50,000 tokens, and for one of some 260,000; None if it is only reported."""
    kernels: str = KERNELS[0]
    of_rows: Callable[..., Any] = np.median
    """What counts of a turn's rows: their median or their mean."""


TYPICAL = SamplingParams(
    seed=1, temperature=0.7, top_p=0.95, presence_penalty=0.5, frequency_penalty=0.5, logprobs=5
)
"""What a client of the contract typically asks for, with log-probabilities."""
_PLAIN = SamplingParams(seed=1, temperature=0.7)
_BEST = SamplingParams(seed=1, temperature=0.0)


def _ours(params: SamplingParams, **options: Any) -> Maker:
    return partial(nucleus, params=replace(params, **options))


def _beside_llama(params: SamplingParams, **options: Any) -> Sequence[Maker]:
    return _ours(params, **options), partial(llama_chain, params=params)


def _masked(rows: Rows, params: SamplingParams, allowed: float) -> Side:
    """Return our side with a mask of random tokens: a share, a number, or, where negative, all but that."""
    order = np.random.default_rng(1).permutation(rows.n_vocab)
    count = round(allowed * rows.n_vocab) if 0 < allowed < 1 else int(allowed) % rows.n_vocab
    return nucleus(rows, params, allowed=order < count)


def _beside_no_mask(title: str, params: SamplingParams) -> list[Comparison]:
    """Return a line for each mask; its title has room for the mask's name."""
    masks = {"1 token": 1, "100": 100, "half": 0.5, "all but 1": -1}
    goals = {"1 token": 1.0, "100": 1.0, "half": 1.05, "all but 1": 1.05}
    return [
        Comparison(
            title.format(name),
            _COSTS,
            [partial(_masked, params=params, allowed=allowed), _ours(params)],
            (goals[name], goals[name]),
        )
        for name, allowed in masks.items()
    ]


def _flat(rows: Rows) -> Side:
    flat = rows._replace(logits=rows.logits * np.float32(0.01))
    assert np.ptp(flat.logits, axis=1).max() < 1  # so the nucleus is most of the vocabulary
    return nucleus(flat, TYPICAL)


def _first_token(rows: Rows, n: int = 1) -> Side:
    return nucleus(rows._replace(history=rows.history[:0]), TYPICAL, per_call=1, n=n)


_typical = _ours(TYPICAL)
_no_penalties = _ours(TYPICAL, presence_penalty=0.0, frequency_penalty=0.0)
_biased = _ours(TYPICAL, logit_bias=dict.fromkeys(range(0, 40_000, 2000), 1.0))
_sixteen = partial(_first_token, n=16)
# Call after call, so that a second thread is asleep for the first one only.
_eights = partial(nucleus, params=TYPICAL, per_call=8, visits=8)
_two_threads = partial(_eights, threads=2)

CONTRACT = Comparison("contract, against llama.cpp's chain", _FASTER, _beside_llama(TYPICAL), (25, 25))
CALL = Comparison("a call from Python, less its C", _TAKES, [one_call], (2, None))
_READ = Comparison("contract, against one read of the row", _COSTS, [_typical, one_read], (7, 3.5))
_TEMPERATURE = Comparison("temperature only, against llama.cpp's", _FASTER, _beside_llama(_PLAIN), (18, 18))
_GREEDY = Comparison("greedy, against llama.cpp's", _FASTER, _beside_llama(_BEST), (8, 5))
_LOGPROB = _beside_llama(_BEST, logprobs=0)
_MASKED = [
    *_beside_no_mask("mask of {}, against none", TYPICAL),
    *_beside_no_mask("no logprobs, mask of {}, against none", replace(TYPICAL, logprobs=None)),
    *_beside_no_mask("greedy, mask of {}, against none", _BEST),
]

# AVX2 reaches 60 % of the goal where it is not the machine's best, and scalar code is never slower.
_FORCED = [
    replace(CONTRACT, kernels="avx2", goals=(15, 15)),
    replace(_READ, kernels="avx2", goals=(7 / 0.6, 3.5 / 0.6)),
    *(replace(each, kernels="scalar", goals=(1, 1)) for each in (CONTRACT, _TEMPERATURE, _GREEDY)),
]
COMPARISONS = [
    CONTRACT,
    Comparison("contract, against it, mean of the rows", _FASTER, CONTRACT.sides, of_rows=np.mean),
    _READ,
    _TEMPERATURE,
    _GREEDY,
    Comparison("greedy with logprobs=0, against the same", _FASTER, _LOGPROB, (3.5, 2.5)),
    Comparison("flat row, against a typical one", _COSTS, [_flat, _typical], (4, 4)),
    Comparison("16 draws from a row, against one", _COSTS, [_sixteen, _first_token], (1.3, 1.3)),
    Comparison("8 rows on two threads, against one", _FASTER, [_two_threads, _eights], (1.6, 1.7)),
    Comparison("penalties, against none", _ADDS, [_typical, _no_penalties], (0.1, 0.1)),
    Comparison("20 logit biases, against none", _ADDS, [_biased, _typical], (0.1, 0.1)),
    Comparison("top_k=40, against none", _ADDS, [_ours(TYPICAL, top_k=40), _typical], (0.1, 0.1)),
    Comparison("min_p=0.05, against none", _ADDS, [_ours(TYPICAL, min_p=0.05), _typical], (0.1, 0.1)),
    Comparison("logprobs=20, against logprobs=5", _ADDS, [_ours(TYPICAL, logprobs=20), _typical], (0.1, 0.1)),
    *_MASKED,
    CALL,
    Comparison("contract, against naive numpy", _FASTER, [_typical, by_numpy]),
    Comparison("contract, against naive PyTorch", _FASTER, [_typical, by_torch]),
    *(comparison for comparison in _FORCED if comparison.kernels in KERNELS[1:]),
]
"""In the order of the table."""
