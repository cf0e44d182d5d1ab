"""A model that computes nothing: with it, all of a token's time is the engine's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engine.backend.base import Batch, ModelInfo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from engine.backend.base import SavedPrefix

_N_VOCAB = 256


class NullBackend:
    """A :class:`engine.backend.base.Backend` whose logits are the same small row every time.

    Tokens are bytes. The row has few tokens, so the sampler takes next to no time either, and only printable
    ASCII can be drawn, so every token is a chunk of text.
    """

    def __init__(self, n_slots: int, n_cells: int) -> None:
        self.n_slots = n_slots
        self.prefix_cache = True
        self.restore_slack = 0
        self.n_scored, self.n_batch_invariant = 1, 0
        self.n_cells = n_cells
        self.n_batch = 512
        self.info = ModelInfo("null", _N_VOCAB, n_cells, 0, None, 0, None, frozenset({0}), None)
        self._logits = np.full((n_slots, _N_VOCAB), -np.inf, np.float32)
        self._logits[:, ord("a") : ord("z") + 1] = np.arange(26, dtype=np.float32) / 10
        self._pieces = [bytes([byte]) for byte in range(_N_VOCAB)]

    def tokenize(self, text: str, *, add_special: bool = True) -> list[int]:  # noqa: ARG002
        return list(text.encode())

    def piece(self, token: int) -> bytes:
        return self._pieces[token]

    def special_text(self, token: int) -> bytes:
        return self._pieces[token]

    def apply_chat_template(self, messages: Sequence[tuple[str, str]]) -> str | None:  # noqa: ARG002
        return None

    def decode(self, batch: Batch) -> NDArray[np.float32]:
        return self._logits[: batch.n_rows]

    def copy(self, source: int, target: int, length: int) -> None:
        pass

    def truncate(self, slot: int, length: int) -> None:
        pass

    def defer_free(self, slot: int) -> None:
        pass

    def free_deferred(self) -> None:
        pass

    def save(self, slot: int, length: int) -> SavedPrefix:  # noqa: ARG002
        return ()

    def restore(self, slot: int, saved: SavedPrefix, length: int) -> None:
        pass

    def close(self) -> None:
        pass
