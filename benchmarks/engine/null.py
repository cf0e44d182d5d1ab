"""Models that compute nothing: what is left is the engine's own time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.backend.base import Batch, ModelInfo
from engine.backend.invariance import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_N_VOCAB = 256


class NullBackend:
    """A :class:`engine.backend.base.Backend` whose logits never change.

    Tokens are bytes. The row has few tokens, so the sampler takes next to no time either, and only printable
    ASCII can be drawn, so every token is a chunk of text.
    """

    prefix_cache = True
    n_padding = n_drafted = n_graphs_reused = 0
    is_asynchronous = False
    batch_invariance = NEVER
    n_scored = 1
    n_batch = 512

    def __init__(self, n_slots: int, n_cells: int) -> None:
        self.n_slots, self.n_cells = n_slots, n_cells
        self.info = ModelInfo("null", _N_VOCAB, n_cells, 0, None, 0, None, frozenset({0}), None)
        self._logits = np.full((n_slots, _N_VOCAB), -np.inf, np.float32)
        self._logits[:, ord("a") : ord("z") + 1] = np.arange(26, dtype=np.float32) / 10
        self._pieces = [bytes([byte]) for byte in range(_N_VOCAB)]
        self._n_rows = 0

    def tokenize(self, text: str, *, add_special: bool = True) -> list[int]:  # noqa: ARG002
        return list(text.encode())

    def piece(self, token: int) -> bytes:
        return self._pieces[token]

    def pieces(self) -> list[bytes]:
        return self._pieces

    special_text = piece

    def start(self, batch: Batch) -> None:
        self._n_rows = batch.n_rows

    def logits(self) -> NDArray[np.float32]:
        return self._logits[: self._n_rows]

    def _do_nothing(self, *_arguments: Any, **_named: Any) -> Any:
        return None

    native_tokenizer = apply_chat_template = copy = truncate = save = restore = defer_free = free_deferred = (
        close
    ) = _do_nothing


class PacedBackend(NullBackend):
    """A null backend that takes as long as another machine would, and uses no processor meanwhile.

    Args:
        seconds: How long a step with so many decodes and so many prompt tokens takes.
        is_asynchronous: Whether it takes them by itself, as a GPU does.
    """

    def __init__(
        self, n_slots: int, n_cells: int, seconds: Callable[[int, int], float], *, is_asynchronous: bool
    ) -> None:
        super().__init__(n_slots, n_cells)
        self.is_asynchronous = is_asynchronous
        self._seconds = seconds
        self._done = 0.0

    def start(self, batch: Batch) -> None:
        super().start(batch)
        self._done = time.perf_counter() + self._seconds(batch.n_rows, batch.size - batch.n_rows)
        if not self.is_asynchronous:
            self._wait()

    def logits(self) -> NDArray[np.float32]:
        self._wait()
        return super().logits()

    def _wait(self) -> None:
        if (left := self._done - time.perf_counter()) > 0:
            time.sleep(left)
