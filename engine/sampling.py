"""The sampler in Python: :class:`SamplingParams` and :class:`Sampler`, on any logits, without a model.

    sampler = Sampler(n_vocab=32_000, max_slots=4)
    sampler.open(0, SamplingParams(seed=1, temperature=0.7, top_p=0.95, logprobs=5))
    draws = sampler.sample(logits, slots=np.array([0], dtype=np.int32))  # logits: float32 [1, 32_000]

:meth:`Sampler.masks` says which tokens may be drawn at all.

``docs/sampler.md`` defines every step and the guarantee about seeds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from engine.extras import explained

try:
    import numpy as np

    from engine._sampler import KERNELS, Draws, Scores
    from engine._sampler import Sampler as _Sampler
except ModuleNotFoundError as error:
    raise explained(error, "engine.sampling", "sampler") from None

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Ids = Sequence[int] | NDArray[np.integer]
    Tokens = Ids | Sequence[Ids] | NDArray[np.bool_]

__all__ = ["KERNELS", "Draws", "RowStatus", "Sampler", "SamplingParams", "Scores"]


class RowStatus(IntEnum):
    """Why a row of logits gave no token; mirrors ``enum row_status`` of ``csrc/row.h``."""

    OK = 0
    NAN_LOGIT = 1
    INFINITE_LOGIT = 2
    NO_FINITE_LOGIT = 3

    @property
    def message(self) -> str:
        """One sentence for a person."""
        return _MESSAGES[self]


_MESSAGES = {
    RowStatus.OK: "A token was drawn.",
    RowStatus.NAN_LOGIT: "The model gave a logit that is not a number (NaN).",
    RowStatus.INFINITE_LOGIT: "The model gave a logit of +infinity.",
    RowStatus.NO_FINITE_LOGIT: "No token can be drawn: every logit is -infinity or banned.",
}

_NO_BIAS: Mapping[int, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How the tokens of a choice are drawn: complete, in range, with the seed resolved.

    The steps, in order: ``logit_bias``; ``repetition_penalty``, then ``frequency_penalty`` and
    ``presence_penalty``; ``temperature``; ``min_p``; ``top_k``; ``top_p``; one draw. Log-probabilities are
    those of the raw logits.

    Raises:
        ValueError: A number is out of the range given below, or not finite.
    """

    seed: int
    """Key of the random numbers, in [0, 2**64)."""
    temperature: float = 1.0
    """Divides the logits; finite, at least 0. At 0 the largest logit wins, ties to the lowest id."""
    top_p: float = 1.0
    """Keep the smallest set of best tokens whose mass reaches this, in (0, 1]; 1 is off."""
    top_k: int = 0
    """Keep this many of the best tokens, at least 0; 0 is off."""
    min_p: float = 0.0
    """Drop tokens less probable than this share of the best one's probability, in [0, 1]; 0 is off."""
    presence_penalty: float = 0.0
    """Taken from the logit of each token generated so far; finite."""
    frequency_penalty: float = 0.0
    """Taken from a token's logit once for each time it was generated; finite."""
    repetition_penalty: float = 1.0
    """Divides positive, multiplies negative logits of tokens in prompt or generated; above 0, 1 is off."""
    logit_bias: Mapping[int, float] = field(default_factory=lambda: _NO_BIAS)
    """Token id -> what is added to its logit: finite, or -inf to ban it; :meth:`Sampler.open` checks ids."""
    logprobs: int | None = None
    """None: no log-probabilities; 0: the drawn token's; k: also those of the k best tokens."""

    def __post_init__(self) -> None:
        _check("seed", self.seed, "in [0, 2**64)", 0 <= self.seed < 2**64)
        _check("temperature", self.temperature, "finite and at least 0", 0 <= self.temperature < math.inf)
        _check("top_p", self.top_p, "in (0, 1]", 0 < self.top_p <= 1)
        _check("top_k", self.top_k, "at least 0", self.top_k >= 0)
        _check("min_p", self.min_p, "in [0, 1]", 0 <= self.min_p <= 1)
        _check("presence_penalty", self.presence_penalty, "finite", math.isfinite(self.presence_penalty))
        _check("frequency_penalty", self.frequency_penalty, "finite", math.isfinite(self.frequency_penalty))
        in_range = 0 < self.repetition_penalty < math.inf
        _check("repetition_penalty", self.repetition_penalty, "finite and above 0", in_range)
        for token, bias in self.logit_bias.items():
            _check(f"logit_bias[{token}]", bias, "finite or -inf", bias < math.inf)
        _check("logprobs", self.logprobs, "None or at least 0", self.logprobs is None or self.logprobs >= 0)


def _check(name: str, value: float | None, limit: str, holds: bool) -> None:
    if not holds:
        raise ValueError(f"{name} must be {limit}, got {value}")


class Sampler(_Sampler):
    __doc__ = _Sampler.__doc__

    def masks(self, *, allowed: Tokens | None = None, banned: Tokens | None = None) -> NDArray[np.int32]:
        """Return masks for :meth:`sample`: for each row the tokens that may be drawn, a bit for each token.

        Args:
            allowed: The tokens that may be drawn: bool [k, n_vocab]; or k lists of token ids; or, for a
                single mask, bool [n_vocab] or one list of ids.
            banned: The tokens that may not be drawn, in the same forms. Give one of the two.

        Returns:
            int32 [k, ceil(n_vocab / 32)]. A row of it is a mask for :meth:`distribution`.

        Raises:
            ValueError: Both or none of the two are given, a shape is wrong, or a token id is out of range.
            TypeError: Token ids are not integers.

        Example:
            >>> sampler = Sampler(n_vocab=8, max_slots=2)
            >>> for slot in range(2):
            ...     sampler.open(slot, SamplingParams(seed=1, temperature=0))
            >>> logits = np.array([[0, 1, 2, 3, 4, 5, 6, 7]] * 2, np.float32)
            >>> slots = np.array([0, 1], np.int32)
            >>> sampler.sample(logits, slots, masks=sampler.masks(banned=[[7], [6, 7]])).tokens.tolist()
            [6, 5]
            >>> even = np.arange(8) % 2 == 0
            >>> one = sampler.masks(allowed=even)  # one mask for both draws, so both name row 0
            >>> both = np.zeros(2, np.int32)
            >>> sampler.sample(logits, slots, masks=one, mask_rows=both).tokens.tolist()
            [6, 6]
            >>> sampler.distribution(logits[0], slot=0, mask=sampler.masks(allowed=[1, 3])[0])[0].tolist()
            [3]

        ``SamplingParams.logit_bias`` bans tokens for as long as a slot is open.
        """
        if (allowed is None) == (banned is None):
            given = "neither" if allowed is None else "both"
            raise ValueError(f"exactly one of allowed and banned must be given, got {given}")
        name, tokens = ("banned", banned) if allowed is None else ("allowed", allowed)
        chosen = _chosen(name, tokens, self.n_vocab)
        bits = np.packbits(~chosen if allowed is None else chosen, axis=1, bitorder="little")
        words = np.zeros((len(bits), (self.n_vocab + 31) // 32), "<u4")
        words.view(np.uint8)[:, : bits.shape[1]] = bits
        return words.astype(np.uint32).view(np.int32)


def _chosen(name: str, tokens: Any, n_vocab: int) -> NDArray[np.bool_]:
    """Return which tokens of the vocabulary are among the given ones: bool [k, n_vocab]."""
    if getattr(tokens, "dtype", None) == np.bool_:
        if tokens.ndim not in (1, 2) or tokens.shape[-1] != n_vocab:
            raise ValueError(f"{name} must be bool [k, {n_vocab}] or [{n_vocab}], got {[*tokens.shape]}")
        return np.atleast_2d(tokens)
    rows = tokens if len(tokens) and not isinstance(tokens[0], int | np.integer) else [tokens]
    chosen = np.zeros((len(rows), n_vocab), np.bool_)
    for row, ids in zip(chosen, rows, strict=True):
        row[_ids(name, ids, n_vocab)] = True
    return chosen


def _ids(name: str, ids: Any, n_vocab: int) -> NDArray[np.intp]:
    array = np.asarray(ids)
    if array.ndim != 1:
        raise ValueError(f"{name} must be a list of token ids, or a list of such lists")
    if not array.size:
        return array.astype(np.intp)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, got {array.dtype}")
    if (outside := array[(array < 0) | (array >= n_vocab)]).size:
        raise ValueError(f"token ids in {name} must be in [0, {n_vocab - 1}], got {outside[0]}")
    return array.astype(np.intp)
