"""What every side of a comparison draws from: real rows of logits, and what was generated before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.llama import Context
from benchmarks.prompts import PASSAGES
from engine.loading.hardware import physical_cores

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

N_ROWS = len(PASSAGES)
_MAX_TOKENS = 100
_N_HISTORY = 200


class Rows(Context):
    """A context that decoded the passages, all in one batch, and holds the row that follows each.

    That is where every user of llama.cpp finds rows.
    """

    def __init__(self, path: Path) -> None:
        n_tokens = N_ROWS * _MAX_TOKENS
        super().__init__(path, N_ROWS, n_tokens, n_tokens, physical_cores())
        self.texts = [self.tokenize(text) for text in PASSAGES]
        """The tokens of the passages; the context has at most the first hundred of each."""
        texts = [text[:_MAX_TOKENS] for text in self.texts]
        self.fill(
            (slot, position, token, position == len(text) - 1)
            for slot, text in enumerate(texts)
            for position, token in enumerate(text)
        )
        self.logits = self.decode(N_ROWS)
        """float32 ``[N_ROWS, n_vocab]``: the context's own memory, gone when it is closed."""
        self.outputs = (np.cumsum([len(text) for text in texts]) - 1).tolist()
        """Where each row's token is in the batch, which is what llama.cpp's functions go by."""


@dataclass(frozen=True, slots=True)
class Material:
    """Rows of one model.

    Every side visits all the rows, one after the other, before it comes back to the first. So at 49,152
    tokens a side reads 3 MB before it meets a row again, and no row lies in the caches of the core (L1, L2)
    from its own last use. Only the narrowest rows of the curve are so short that all of them fit there.
    """

    logits: NDArray[np.float32]
    """float32 ``[N_ROWS, n_vocab]``: a model's own rows in llama.cpp's memory, or rows made of them."""
    history: list[int]
    """Different tokens, generated before each draw."""

    @classmethod
    def of(cls, rows: Rows) -> Material:
        """Take the rows where they are; the history is tokens from all of the passages."""
        seen = list(dict.fromkeys(token for text in rows.texts for token in text))
        return cls(rows.logits, seen[:: len(seen) // _N_HISTORY][:_N_HISTORY])

    @property
    def n_vocab(self) -> int:
        """Entries of a row."""
        return int(self.logits.shape[1])

    def touch(self) -> None:
        """Read every row, so that none has left the cache that all cores share when a side's turn begins.

        A model has just written its rows, too. Without this, a side would have what the one before it left.
        It takes two readings: after a single one, the next is still half as slow again as the one after it.
        """
        for _ in range(2):
            self.logits.max(axis=1)

    def flat(self) -> Material:
        """Return rows so even that the nucleus is most of the vocabulary."""
        return Material(self.logits * np.float32(0.01), self.history)

    def without_history(self) -> Material:
        """Return the same rows, as for the first token."""
        return Material(self.logits, [])

    def narrowed(self, n_vocab: int) -> Material:
        """Return rows as of a smaller vocabulary: the best tokens of each row, and a fair sample of the rest.

        What a smaller vocabulary lacks are rare tokens, so the head of a row stays and its tail thins out.
        """
        random = np.random.default_rng(n_vocab)
        rows = []
        for row in self.logits:
            head, tail = np.split(np.argsort(-row, kind="stable"), [n_vocab // 8])
            sample = random.choice(tail, n_vocab - len(head), replace=False)
            rows.append(row[np.sort(np.concatenate([head, sample]))])
        return Material(np.stack(rows), np.linspace(0, n_vocab - 1, _N_HISTORY, dtype=int).tolist())
