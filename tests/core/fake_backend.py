"""A model whose logits are made of the text alone, with a cache that checks what it is asked to do."""

from __future__ import annotations

import asyncio
import queue
import threading
import zlib
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from engine.backend.base import BackendError, Batch, ModelInfo
from engine.backend.invariance import BatchInvariance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from engine.backend.base import SavedPrefix

N_VOCAB = 32
END = 0
POISON = 31
"""A prompt that begins with it gives NaN once it is six tokens long."""
_PATIENCE = 30
"""Seconds after which a test that waits for the engine is broken; nothing is ever measured with it."""


class FakeBackend:
    """A :class:`engine.backend.base.Backend`: token 0 ends, the others are the characters from "A" on.

    Args:
        n_slots, prefix_cache, n_cells, n_batch: As in the protocol.
        gated: Whether every decode waits for :meth:`let`.
        endless: Whether the end token is never drawn.
    """

    is_asynchronous = False
    """Tests set it, where text is to be made while the next step runs."""

    def __init__(
        self,
        *,
        n_slots: int = 4,
        prefix_cache: bool = True,
        n_cells: int = 256,
        n_batch: int = 64,
        gated: bool = False,
        endless: bool = True,
    ) -> None:
        self.n_slots, self.n_cells, self.n_batch = n_slots, n_cells, n_batch
        self.prefix_cache = prefix_cache
        self.n_scored, self.n_padding, self.n_drafted = 3, 3, 0
        self.batch_invariance = BatchInvariance(8)
        self.info = ModelInfo("fake", N_VOCAB, n_cells, 0, None, END, None, frozenset({END}), None)
        self.faults: dict[int, BaseException] = {}
        """Number of a decode, from 1, to what it raises."""
        self.cut_faults: list[BackendError] = []
        """What the next truncations raise."""
        self.save_faults: list[BackendError] = []
        self.n_decodes = self.n_graphs_reused = 0
        self.closed = False
        self._gated = gated
        self._endless = endless
        self._held: defaultdict[int, list[int]] = defaultdict(list)
        self._permits = threading.Semaphore(0)
        self._entered: queue.SimpleQueue[frozenset[int]] = queue.SimpleQueue()
        self._emptied: queue.SimpleQueue[int] = queue.SimpleQueue()

    def tokenize(self, text: str, *, add_special: bool = True) -> list[int]:
        return [0] * add_special + [ord(character) - 64 for character in text]

    def piece(self, token: int) -> bytes:
        return b"" if token == END else bytes([64 + token])

    def pieces(self) -> list[bytes]:
        return [self.piece(token) for token in range(N_VOCAB)]

    def special_text(self, token: int) -> bytes:
        return b"<end>" if token == END else self.piece(token)

    def native_tokenizer(self) -> None:
        return None

    def apply_chat_template(
        self, messages: Sequence[tuple[str, str]], *, add_generation_prompt: bool
    ) -> str | None:
        return "".join(content for _, content in messages) + ">" * add_generation_prompt

    def start(self, batch: Batch) -> None:
        self.n_decodes += 1
        slots = batch.slots[: batch.size].tolist()
        self._entered.put(frozenset(slots))
        self._slots = set(slots)
        if not self.is_asynchronous:
            self._run()
        rows = []
        for i, slot in enumerate(slots):
            held = self._held[slot]
            assert batch.positions[i] == len(held), "a position that does not follow what the slot holds"
            held.append(int(batch.tokens[i]))
            if batch.wants_logits[i]:
                rows.append(self.row(held))
        self._rows = np.array(rows, np.float32).reshape(len(rows), N_VOCAB)

    def logits(self) -> NDArray[np.float32]:
        if self.is_asynchronous:
            self._run()
        return self._rows

    def _run(self) -> None:
        if self._gated:
            self._permits.acquire()
        if self.n_decodes in self.faults:
            for slot in self._slots:  # as the protocol says: the sequences of that batch have no usable cache
                self._held[slot].clear()
            raise self.faults[self.n_decodes]

    def copy(self, source: int, target: int, length: int) -> None:
        assert not self._held[target]
        self._held[target] = self._held[source][:length]

    def truncate(self, slot: int, length: int) -> None:
        if self.cut_faults:
            raise self.cut_faults.pop()
        del self._held[slot][length:]
        if length == 0:
            self._emptied.put(slot)

    def defer_free(self, slot: int) -> None:
        self.truncate(slot, 0)

    def free_deferred(self) -> None:
        pass

    def save(self, slot: int, length: int) -> SavedPrefix:
        if self.save_faults:
            raise self.save_faults.pop()
        assert length <= len(self._held[slot])
        return (np.array(self._held[slot][:length], np.uint8),)

    def restore(self, slot: int, saved: SavedPrefix, length: int) -> None:
        assert not self._held[slot]
        self._held[slot] = saved[0][:length].tolist()

    def used_cells(self, slot: int) -> int:
        return len(self._held[slot])

    def close(self) -> None:
        assert not self.closed
        self.closed = True

    def hold(self) -> None:
        """Let no decode happen from now on but those that are let."""
        self._gated = True

    def let(self, steps: int) -> None:
        """Let this many decodes happen."""
        self._permits.release(steps)

    def open_gate(self) -> None:
        """Let every decode happen from now on."""
        self._gated = False
        self._permits.release()

    async def next_decode(self) -> frozenset[int]:
        """Wait until a decode has begun; return its slots."""
        return await asyncio.to_thread(self._entered.get, timeout=_PATIENCE)

    async def next_emptied(self) -> int:
        """Wait until a slot has been emptied; return it."""
        return await asyncio.to_thread(self._emptied.get, timeout=_PATIENCE)

    def row(self, held: list[int]) -> NDArray[np.float32]:
        """Return the row behind a text."""
        rng = np.random.default_rng(zlib.crc32(bytes(held)))
        logits = rng.normal(0, 2, N_VOCAB).astype(np.float32)
        if self._endless:
            logits[END] = -np.inf
        if held[0] == POISON and len(held) >= 6:
            logits[7] = np.nan
        return logits
