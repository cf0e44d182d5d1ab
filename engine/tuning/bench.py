"""A loaded candidate: its steps are those that a server would take, without sampling."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from engine.backend.base import Batch, decode
from engine.backend.llama import LlamaBackend, LlamaOptions
from engine.loading.profiles import BATCH

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from engine.backend.base import SavedPrefix
    from engine.backend.llama_model import LlamaModel
    from engine.loading.profiles import RunSettings

DEPTH: Final = 128
"""Tokens that each stream has behind it: a short prompt, and the middle of a short answer."""
_SLOWEST_PREFILL_S: Final = 1.6
_PROMPTS: Final = (2048, 1024, 512, 256, 128, 64)
"""Tokens of the prompt whose computing is timed: the most that do not take too long."""
_ROOM: Final = 32
"""Tokens that a stream may grow by, and so the most steps."""
STREAM_CELLS: Final = DEPTH + _ROOM
"""Cells of the KV cache that a stream needs."""


class Bench:
    """A model with settings, ready to be compared and timed.

    Args:
        model: The weights; several benches may share them.
        settings: How it is run.
        widths: Numbers of streams that will be timed.
        n_text: Tokens of the longest text that slot 0 must hold.
        gpu_layers: Layers on a GPU.
        tried_widths: What is known of the model's kernels.

    Raises:
        ModelLoadError: llama.cpp cannot run the model with these settings.
    """

    def __init__(
        self,
        model: LlamaModel,
        settings: RunSettings,
        *,
        widths: Iterable[int],
        n_text: int,
        gpu_layers: int,
        tried_widths: Mapping[int, bool],
    ) -> None:
        slots = max(widths)
        self.depth = min(DEPTH, max(0, model.info.n_ctx_train - _ROOM)) if model.can_cut else 0
        n_batch = max(BATCH, settings.ubatch_size, slots)
        self.backend = LlamaBackend(
            model,
            LlamaOptions(
                n_slots=slots,
                prefix_cache=True,
                n_cells=max(slots * STREAM_CELLS, n_text, n_batch),
                n_batch=n_batch,
                n_threads=settings.threads,
                n_gpu_layers=gpu_layers,
                batch_invariant="auto",
                tried_widths=tried_widths,
                n_ubatch=settings.ubatch_size,
                flash_attn=settings.flash_attn,
                cache_type_k=settings.cache_type_k,
                cache_type_v=settings.cache_type_v,
            ),
        )
        self.repeats_seeds = self.backend.batch_invariance.is_free
        self._saved: SavedPrefix | None = None
        self._batch = Batch(n_batch)
        self._tokens = _ordinary_tokens(model.info.n_vocab, n_batch)

    def begin(self, streams: int) -> None:
        """Put the same text into so many slots: what it says makes no difference."""
        if not self.depth:
            return
        if self._saved is None:
            depth = self.depth
            self._batch.fill(self._tokens[:depth], range(depth), [0] * depth, [False] * depth)
            decode(self.backend, self._batch)
            self._saved = self.backend.save(0, depth)
            self._clear(1)
        for slot in range(streams):
            self.backend.restore(slot, self._saved, self.depth)

    def step_seconds(self, streams: int, step: int) -> float:
        """Return the seconds of a step in which each stream gets its next token; steps count from 0.

        The first of a width makes ready what all later ones use.
        """
        tokens = self._tokens[step : step + 1] * streams
        self._batch.fill(tokens, [self.depth + step] * streams, range(streams), [True] * streams)
        return self._timed()

    def end(self, streams: int) -> None:
        """Empty the slots."""
        self._clear(streams)

    def prefill_seconds(self, n_tokens: int) -> float:
        """Return the seconds in which so many tokens of one prompt are computed, a batch at a time."""
        seconds = 0.0
        try:
            for start in range(0, n_tokens, self.backend.n_batch):
                count = min(self.backend.n_batch, n_tokens - start)
                wants_logits = [False] * (count - 1) + [start + count == n_tokens]
                positions = range(start, start + count)
                self._batch.fill(self._tokens[:count], positions, [0] * count, wants_logits)
                seconds += self._timed()
        finally:
            self._clear(1)
        return seconds

    def longest_prompt(self) -> int:
        """Return the tokens of the longest prompt that can be timed in a few seconds."""
        shortest = _PROMPTS[-1]
        self.prefill_seconds(shortest)  # the first step reads the weights into memory
        per_token = self.prefill_seconds(shortest) / shortest
        most = min(self.backend.n_cells, self.backend.info.n_ctx_train)
        affordable = (n for n in _PROMPTS if n <= most and n * per_token <= _SLOWEST_PREFILL_S)
        return next(affordable, shortest)

    def close(self) -> None:
        """Free the context; the model stays."""
        self.backend.close()

    def _timed(self) -> float:
        began = time.perf_counter()
        decode(self.backend, self._batch)
        return time.perf_counter() - began

    def _clear(self, streams: int) -> None:
        for slot in range(streams):
            self.backend.truncate(slot, 0)


def _ordinary_tokens(n_vocab: int, count: int) -> list[int]:
    """Return any tokens: which ones they are makes no difference to how long a step takes."""
    return [(100 + 7 * i) % n_vocab for i in range(count)]
