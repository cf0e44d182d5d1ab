"""The KV cache of an idle engine from both sides: the scheduler's books, and llama.cpp's own count.

Calls to the backend belong to the engine thread. They are made from another one here, so all of this is for
an engine to which nobody has a request, and which has done what its last one left to be done: its thread
waits for a command then, and touches neither the books nor llama.cpp.
"""

from __future__ import annotations

import ctypes
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

import llama_cpp as lib

from benchmarks.soak.check import Check
from engine.kvcache.prefix_match import PrefixMatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.backend.llama import LlamaBackend
    from engine.core.scheduler import Scheduler

_WHOLE_CACHE = -1  # in place of a sequence's number
_HEADER = struct.Struct("4I")  # of a saved state: a magic number, the sequence, the streams, the cells


class Cache:
    """What both sides say.

    Args:
        scheduler: Keeps the books.
        backend: Asks llama.cpp.
    """

    def __init__(self, scheduler: Scheduler, backend: LlamaBackend) -> None:
        self._scheduler = scheduler
        self._slots = scheduler.slots
        self._backend = backend

    def checks(self) -> Iterator[Check]:
        """Look at both sides; slots and cells are all free."""
        yield self._nobody_is_left()
        yield self._no_cell_is_held()
        yield self._is_empty()
        yield self._every_slot_can_be_taken()

    def _nobody_is_left(self) -> Check:
        running, waiting = self._scheduler.n_running, self._scheduler.n_waiting
        return Check("no sequence is left", not running and not waiting, f"{running} run, {waiting} wait")

    def _no_cell_is_held(self) -> Check:
        free, cells = self._scheduler.free_cells, self._slots.n_cells
        return Check("no cell is held by a sequence", free == cells, f"{free} of {cells} are free")

    def _is_empty(self) -> Check:
        tokens, cells = sum(self._tokens_of_slots()), self._used_cells()
        return Check(
            "the cache is empty, by llama.cpp's own count",
            tokens == cells == 0,
            f"{tokens} tokens in {cells} cells",
        )

    def _every_slot_can_be_taken(self) -> Check:
        n_slots = self._backend.n_slots
        taken: list[int] = []
        with suppress(IndexError):  # what is left of the books has no slot to give
            while len(taken) < n_slots:
                taken.append(self._slots.take(PrefixMatch()))
        for slot in taken:
            self._slots.leave(slot)
        n_taken = len(set(taken))
        return Check("every slot can be taken again", n_taken == n_slots, f"{n_taken} of {n_slots}")

    def _tokens_of_slots(self) -> list[int]:
        return [self._backend.used_cells(slot) for slot in range(self._backend.n_slots)]

    def _used_cells(self) -> int:
        """Return llama.cpp's count of cells in use, shared ones once; only a saved state tells it."""
        context = self._backend._context
        size = lib.llama_state_seq_get_size(context, _WHOLE_CACHE)
        state = (ctypes.c_uint8 * size)()
        lib.llama_state_seq_get_data(context, state, size, _WHOLE_CACHE)
        return int(_HEADER.unpack_from(state)[3])
