"""A model that computes nothing: with it, all of a token's time is the engine's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engine.backend.base import Batch, ModelInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

_N_VOCAB = 256


class NullBackend:
    """A :class:`engine.backend.base.Backend` whose logits are the same small row every time.

    Tokens are bytes. The row has few tokens, so the sampler takes next to no time either, and only printable
    ASCII can be drawn, so every token is a chunk of text.
    """

    prefix_cache = True
    restore_slack = n_batch_invariant = 0
    n_scored = 1
    n_batch = 512

    def __init__(self, n_slots: int, n_cells: int) -> None:
        self.n_slots, self.n_cells = n_slots, n_cells
        self.info = ModelInfo("null", _N_VOCAB, n_cells, 0, None, 0, None, frozenset({0}), None)
        self._logits = np.full((n_slots, _N_VOCAB), -np.inf, np.float32)
        self._logits[:, ord("a") : ord("z") + 1] = np.arange(26, dtype=np.float32) / 10
        self._pieces = [bytes([byte]) for byte in range(_N_VOCAB)]

    def tokenize(self, text: str, *, add_special: bool = True) -> list[int]:  # noqa: ARG002
        return list(text.encode())

    def piece(self, token: int) -> bytes:
        return self._pieces[token]

    special_text = piece

    def decode(self, batch: Batch) -> NDArray[np.float32]:
        return self._logits[: batch.n_rows]

    def _do_nothing(self, *_arguments: Any, **_named: Any) -> Any:
        return None

    apply_chat_template = copy = truncate = save = restore = defer_free = free_deferred = close = _do_nothing
