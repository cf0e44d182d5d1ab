"""How far a model is from the original: the divergence of what both say of each next token of a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engine.backend.base import Batch, decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from engine.backend.base import Backend

_ROWS = 16
"""Rows that are compared at once: in double precision they are large."""


@dataclass(frozen=True, slots=True)
class Quality:
    """What is lost beside the original, on a text of ``n_tokens``."""

    mean_kl: float
    """Mean Kullback-Leibler divergence from the original's distribution, in nats a token."""
    p99_kl: float
    """The divergence that one token of a hundred exceeds."""
    changed_argmax: float
    """Share of tokens at which another token is the most probable one."""
    n_tokens: int

    @property
    def is_finite(self) -> bool:
        """False if some of the logits were no numbers."""
        return bool(np.isfinite(self.mean_kl))


LOSSLESS = Quality(0.0, 0.0, 0.0, 0)
"""The original beside itself."""


class Reference:
    """The original's logits for every token of a text, in a file that is mapped into memory.

    Args:
        path: The file, which is written anew; it takes ``4 * len(tokens) * n_vocab`` bytes.
        tokens: The text.
        backend: The original, with an empty slot 0.
        check: Called before each step; what it raises ends the work.
    """

    def __init__(
        self, path: Path, tokens: Sequence[int], backend: Backend, check: Callable[[], None]
    ) -> None:
        self.tokens = list(tokens)
        shape = len(self.tokens), backend.info.n_vocab
        self._logits: NDArray[np.float32] = np.memmap(path, np.float32, "w+", shape=shape)
        for start, rows in _rows(backend, self.tokens, check):
            self._logits[start : start + len(rows)] = rows

    def quality_of(self, backend: Backend, check: Callable[[], None]) -> Quality:
        """Return what a backend with an empty slot 0 loses beside the original."""
        divergences, changed = np.empty(len(self.tokens)), 0
        for start, rows in _rows(backend, self.tokens, check):
            for first in range(0, len(rows), _ROWS):
                ours = rows[first : first + _ROWS]
                at = start + first
                theirs = self._logits[at : at + len(ours)]
                divergences[at : at + len(ours)] = kl_divergence(theirs, ours)
                changed += int(np.count_nonzero(theirs.argmax(axis=1) != ours.argmax(axis=1)))
        return Quality(
            float(divergences.mean()),
            float(np.percentile(divergences, 99)),
            changed / len(self.tokens),
            len(self.tokens),
        )


def kl_divergence(original: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the divergence of the softmax of ``other`` from that of ``original``, row by row.

    Args:
        original: Logits ``[rows, n_vocab]``; minus infinity is a token that cannot come.
        other: Logits of the same shape.

    Returns:
        Nats ``[rows]``, at least 0; infinite where a row has a number that is none.

    >>> kl_divergence(np.log([[0.5, 0.5]]), np.log([[0.25, 0.75]])).round(4)
    array([0.1438])
    """
    p, q = _log_softmax(original), _log_softmax(other)
    with np.errstate(invalid="ignore"):
        summands = np.where(np.isneginf(p), 0.0, np.exp(p) * (p - q))
    divergence = summands.sum(axis=1)
    # Rounding can leave a little less than nothing.
    return np.where(np.isnan(divergence), np.inf, np.maximum(divergence, 0.0))


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64)
    with np.errstate(invalid="ignore"):
        shifted -= shifted.max(axis=1, keepdims=True)
        shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def _rows(
    backend: Backend, tokens: Sequence[int], check: Callable[[], None]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the logits of a text step by step, with the place of the first; they are valid until the next."""
    size = backend.n_scored
    batch = Batch(size)
    try:
        for start in range(0, len(tokens), size):
            check()
            part = tokens[start : start + size]
            positions = range(start, start + len(part))
            batch.fill(part, positions, [0] * len(part), [True] * len(part))
            yield start, decode(backend, batch)
    finally:
        backend.truncate(0, 0)
