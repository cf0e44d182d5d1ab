"""Which text lies in which slot of the KV cache, who may have one, and what goes first when room is short.

A slot is *in use* by a running sequence, *kept* with the text that a sequence has left behind, or *empty*.
Every change is noted here at once, and as an operation for the backend, which carries them out in order
before it decodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.core.plan import Copy, Truncate
from engine.core.prefix import Match, PrefixTree

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_NOTHING = Match(0, None)
_AT_LEAST = 64
"""Tokens to cut from a kept text when cells are short, so that it is not done for every token."""


class Slots:
    """The texts of a KV cache.

    Args:
        n_slots: Texts that the cache may hold.
        n_cells: Tokens that it holds, over all slots; what texts share counts once.
        keeps: Whether texts are kept when their sequence has left; not where the cache cannot be cut.
    """

    def __init__(self, n_slots: int, n_cells: int, *, keeps: bool = True) -> None:
        self.n_cells = n_cells
        self.keeps = keeps
        self._tree = PrefixTree()
        self._n_slots = n_slots
        self._empty = list(range(n_slots))
        self._kept: dict[int, None] = {}  # the least recently used first
        self._operations: list[Copy | Truncate] = []

    @property
    def used_cells(self) -> int:
        """Cells in use, by running sequences and by texts that are kept."""
        return self._tree.n_cells

    @property
    def has_operations(self) -> bool:
        """Tell whether the backend has something to do."""
        return bool(self._operations)

    def length(self, slot: int) -> int:
        """Return how many tokens a slot holds."""
        return self._tree.length(slot)

    def match(self, tokens: Sequence[int]) -> Match:
        """Find the longest prefix of ``tokens`` that a slot holds."""
        return self._tree.match(tokens) if self.keeps else _NOTHING

    def cells_held(self, slots: Iterable[int], *, besides: Match = _NOTHING) -> int:
        """Return the cells that some slots hold together, and with them a prefix that was found."""
        return self._tree.cells_held(slots, besides=besides)

    def take_operations(self) -> list[Copy | Truncate]:
        """Return what the backend has to do, in order."""
        taken, self._operations = self._operations, []
        return taken

    def take(self, found: Match = _NOTHING) -> int:
        """Give away a slot that holds the prefix that was found, and nothing behind it."""
        if found.slot in self._kept:
            del self._kept[found.slot]
            if not self._empty:  # what follows the prefix is worth less than another text
                self._cut(found.slot, found.length)
                return found.slot
            self._kept[found.slot] = None  # used just now
        slot = self._empty.pop(0) if self._empty else self._evict()
        if found.slot is not None:
            self._operations.append(Copy(found.slot, slot, found.length))
            self.share(found.slot, slot, found.length)
        return slot

    def leave(self, slot: int, *, spoilt: bool = False) -> None:
        """Take back a slot; its text is kept, unless it is spoilt."""
        if self.keeps and not spoilt and self.length(slot):
            self._kept[slot] = None
            return
        self._cut(slot, 0)
        self._empty.append(slot)

    def share(self, source: int, target: int, length: int) -> None:
        """Note that the backend has copied a prefix into an empty slot."""
        self._tree.share(source, target, length)

    def extend(self, slot: int, tokens: list[int]) -> None:
        """Note that the backend has decoded tokens behind a slot's text."""
        self._tree.extend(slot, tokens)

    def make_room(self, cells: int) -> int:
        """Cut what is kept, the least recently used first, until so many cells are free.

        Returns:
            The cells that are free; fewer than asked for where running sequences hold the rest.
        """
        while self._kept and self.used_cells + cells > self.n_cells:
            slot = next(iter(self._kept))
            missing = self.used_cells + cells - self.n_cells
            self._cut(slot, max(0, self.length(slot) - max(missing, _AT_LEAST)))
            if not self.length(slot):
                del self._kept[slot]
                self._empty.append(slot)
        return self.n_cells - self.used_cells

    def forget_kept(self) -> None:
        """Empty every slot that nobody uses."""
        while self._kept:
            self._empty.append(self._evict())

    def distrust(self) -> None:
        """After a failed decode, when nobody runs: rely on nothing in the cache, and empty every slot."""
        self._tree = PrefixTree()
        self._kept.clear()
        self._empty = list(range(self._n_slots))
        self._operations = [Truncate(slot, 0) for slot in self._empty]

    def _evict(self) -> int:
        """Empty the kept slot that was used least recently."""
        slot = next(iter(self._kept))
        del self._kept[slot]
        self._cut(slot, 0)
        return slot

    def _cut(self, slot: int, length: int) -> None:
        self._operations.append(Truncate(slot, length))
        self._tree.cut(slot, length)
