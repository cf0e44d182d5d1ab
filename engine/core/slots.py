"""Which text lies in which slot of the KV cache, who may have one, and what is kept of it afterwards.

A slot holds the text of a running sequence, or nothing. What a sequence leaves behind is copied out of the
cache (:mod:`engine.core.kept`). Every change is noted here at once, and as an operation for the step loop,
which carries them out in order before it decodes.

A text is *repeatable* when it was computed so that it would be the same, to the bit, in any company. For that
its cells must be in order, so while such a text grows, no cell is freed below it: what others leave behind is
put on the shelf (:meth:`Slots.leave`), and takes room until :meth:`Slots.clear_shelf`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from engine.core.kept import KeptTexts
from engine.core.plan import ClearShelf, Copy, Drop, Restore, Save, Shelve, Truncate
from engine.core.prefix import PrefixTree

if TYPE_CHECKING:
    from engine.core.plan import Operation


class Found(NamedTuple):
    """The longest prefix of some tokens that need not be computed, and who has it, if anybody does."""

    length: int = 0
    slot: int | None = None
    """A running text, with which the cells can be shared."""
    text: int | None = None
    """The number of a kept one."""

    @property
    def shared(self) -> int:
        """Tokens for which no cell is needed."""
        return self.length if self.slot is not None else 0


class Slots:
    """The texts of a KV cache.

    Args:
        n_slots: Texts that the cache may hold.
        n_cells: Tokens that it holds, over all slots; what texts share counts once.
        keeps: Whether texts are shared and kept; not where the cache cannot be cut.
        keeps_repeatable: Whether a text can be repeatable once it has left the cache; otherwise who is to
            repeat shares only what runs.
        restore_slack: Cells more than in the end that restoring a text takes meanwhile.
    """

    def __init__(
        self,
        n_slots: int,
        n_cells: int,
        *,
        keeps: bool = True,
        keeps_repeatable: bool = True,
        restore_slack: int = 0,
    ) -> None:
        self.n_slots = n_slots
        self.n_cells = n_cells
        self.keeps = keeps
        self._keeps_repeatable = keeps_repeatable
        self._tree = PrefixTree()
        self._kept = KeptTexts(n_cells)
        self._restore_slack = restore_slack
        self._empty = list(range(n_slots))
        self._repeatable: set[int] = set()  # the slots that hold such texts
        self._reach = 0  # the most cells in use since there were none
        self.n_shelved = 0
        """Cells on the shelf."""
        self._operations: list[Operation] = []

    @property
    def used_cells(self) -> int:
        """Cells in use, or on the shelf."""
        return self._tree.n_cells + self.n_shelved

    @property
    def free_cells(self) -> int:
        """Cells that can be used."""
        return self.n_cells - self.used_cells

    @property
    def reach(self) -> int:
        """All cells in use are among so many first ones, since each new one is the first that is free."""
        return max(self._reach, self.used_cells)

    @property
    def n_kept(self) -> int:
        """How many texts are kept outside of the cache."""
        return len(self._kept)

    @property
    def has_operations(self) -> bool:
        """Tell whether the step loop has something to do."""
        return bool(self._operations)

    def length(self, slot: int) -> int:
        """Return how many tokens a slot holds."""
        return self._tree.length(slot)

    def match(self, tokens: list[int], *, repeatable: bool = False) -> Found:
        """Find the longest prefix of ``tokens`` that a slot holds, or a kept text for which there is room.

        Args:
            tokens: What is to be computed.
            repeatable: Whether only repeatable texts count.
        """
        if not self.keeps:
            return Found()
        running = self._tree.match(tokens, self._repeatable if repeatable else None)
        length, text = self._kept.match(tokens, repeatable=repeatable)
        if running.length < length <= self.free_cells - self._restore_slack:
            return Found(length, text=text)
        return Found(*running)

    def take(self, found: Found, *, repeatable: bool = False) -> int:
        """Give away a slot that holds the prefix that was found, and nothing behind it.

        Args:
            found: What a match found.
            repeatable: Whether its text will be repeatable; then so must be what was found.
        """
        slot = self._empty.pop(0)
        if repeatable:
            self._repeatable.add(slot)
        if found.slot is not None:
            self._operations.append(Copy(found.slot, slot, found.length))
            self.share(found.slot, slot, found.length)
        elif found.text is not None:
            self._kept.use(found.text)
            self._operations.append(Restore(found.text, slot, found.length))
            self.extend(slot, self._kept.tokens(found.text)[: found.length])
        return slot

    def leave(self, slot: int, tokens: list[int] | None = None, *, shelves: bool = False) -> None:
        """Take back a slot.

        Args:
            slot: Whose text has ended, or has to wait.
            tokens: What it holds, to be kept; None if that is not to be relied on.
            shelves: Whether its cells go to the shelf, and are not freed.
        """
        if self.keeps and tokens:
            self._keep(slot, tokens)
        if self.length(slot):
            self._reach = self.reach
            used = self._tree.n_cells
            self._tree.cut(slot, 0)
            self.n_shelved += used - self._tree.n_cells if shelves else 0
            self._operations.append(Shelve(slot) if shelves else Truncate(slot, 0))
        self._repeatable.discard(slot)
        self._empty.append(slot)
        self._forget_reach()

    def clear_shelf(self) -> None:
        """Free the cells on the shelf."""
        self._operations.append(ClearShelf())
        self.n_shelved = 0
        self._forget_reach()

    def _forget_reach(self) -> None:
        if not self.used_cells:
            self._reach = 0

    def share(self, source: int, target: int, length: int) -> None:
        """Note that the backend has copied a prefix into an empty slot."""
        self._tree.share(source, target, length)

    def extend(self, slot: int, tokens: list[int]) -> None:
        """Note that tokens lie in the cache behind a slot's text."""
        self._tree.extend(slot, tokens)

    def append(self, slot: int, token: int) -> None:
        """Note that one more token lies in the cache behind a slot's text."""
        self._tree.append(slot, token)

    def take_operations(self) -> list[Operation]:
        """Return what is to be done, in order."""
        taken, self._operations = self._operations, []
        return taken

    def _keep(self, slot: int, tokens: list[int]) -> None:
        repeatable = self._keeps_repeatable and slot in self._repeatable
        number, dropped = self._kept.add(tokens, repeatable=repeatable)
        self._operations += map(Drop, dropped)
        if number is not None:
            self._operations.append(Save(slot, len(tokens), number))

    def distrust(self) -> None:
        """After a failed step, when nobody runs: rely on nothing, and empty every slot."""
        self._tree = PrefixTree()
        self._empty = list(range(self.n_slots))
        self._repeatable.clear()
        emptied = (Truncate(slot, 0) for slot in self._empty)
        self._operations = [*map(Drop, self._kept.clear()), *emptied]
        self.clear_shelf()
