"""Which tokens each slot of the KV cache holds, who may take a slot, and what is saved when it is left.

A slot holds the tokens of a running sequence, or nothing. When a sequence leaves, its tokens are copied out
of the cache (:mod:`engine.kvcache.host_cache`). Every change is recorded here at once, and as an operation,
which the step loop carries out before it decodes.

A prefix is *batch-invariant* when it was computed so that the result does not depend on the rest of the
batch, to the bit. For that its cells must be in order, so no cell below it is freed while it grows: freeing
is deferred (:meth:`Slots.leave`), and deferred cells take room until :meth:`Slots.free_deferred`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.kvcache.operations import Copy, DeferFree, Drop, FreeDeferred, Restore, Save, Truncate
from engine.kvcache.prefix_match import PrefixMatch
from engine.kvcache.prefix_tree import PrefixTree

if TYPE_CHECKING:
    from engine.kvcache.host_cache import HostPrefixCache
    from engine.kvcache.operations import Operation


class Slots:
    """The slots of a KV cache, and the prefixes that they share.

    Args:
        n_slots: Sequences that the cache may hold.
        n_cells: Tokens that it holds, over all slots; a shared prefix counts once.
        host_cache: Where prefixes go when their sequences leave.
        prefix_cache: Whether prefixes are shared and saved; False where the cache cannot be cut.
        keeps_batch_invariant: Whether a saved prefix stays batch-invariant; otherwise a batch-invariant
            sequence shares the prefixes of running sequences only.
    """

    def __init__(
        self,
        n_slots: int,
        n_cells: int,
        host_cache: HostPrefixCache,
        *,
        prefix_cache: bool = True,
        keeps_batch_invariant: bool = True,
    ) -> None:
        self.n_slots = n_slots
        self.n_cells = n_cells
        self.prefix_cache = prefix_cache
        self._keeps_batch_invariant = keeps_batch_invariant
        self._tree = PrefixTree()
        self._host_cache = host_cache
        self._empty = list(range(n_slots))
        self._batch_invariant: set[int] = set()  # the slots with batch-invariant sequences
        self._reach = 0  # the most cells in use since there were none
        self._tails: dict[int, int] = {}  # slots whose last positions may not stay, and where these end
        self._has_deferred = False
        self.n_deferred = 0
        """Cells that nobody uses, and whose freeing is deferred."""
        self._operations: list[Operation] = []

    @property
    def used_cells(self) -> int:
        """Cells in use, and cells whose freeing is deferred."""
        return self._tree.n_cells + self.n_deferred

    @property
    def free_cells(self) -> int:
        """Cells that can be used."""
        return self.n_cells - self.used_cells

    @property
    def reach(self) -> int:
        """The cells in use are all among this many at the beginning: a new one is the first that is free."""
        return max(self._reach, self.used_cells)

    @property
    def n_saved(self) -> int:
        """How many prefixes the host cache holds."""
        return len(self._host_cache)

    @property
    def has_operations(self) -> bool:
        """True if the step loop has something to do."""
        return bool(self._operations)

    def saved(self, entry_id: int) -> tuple[list[int], bool] | None:
        """Return a saved prefix, and whether it is batch-invariant; None if it is there no more."""
        return self._host_cache.entry(entry_id)

    def adopt(self, tokens: list[int], *, batch_invariant: bool) -> tuple[int | None, list[int]]:
        """Record a prefix that is saved already; return its id, if there is room, and those it drives out."""
        return self._host_cache.add(tokens, batch_invariant=batch_invariant, is_needed=True)

    def length(self, slot: int) -> int:
        """Return how many tokens a slot holds."""
        return self._tree.length(slot)

    def runs(self, slot: int) -> list[tuple[int, int]]:
        """Return the runs of a slot's tokens; see :meth:`PrefixTree.runs`."""
        return self._tree.runs(slot)

    def match(self, tokens: list[int], *, batch_invariant: bool = False) -> PrefixMatch:
        """Find the longest prefix of ``tokens`` in a slot, or in the host cache if it can be restored.

        Args:
            tokens: What is to be computed.
            batch_invariant: Whether only batch-invariant prefixes count.
        """
        if not self.prefix_cache:
            return PrefixMatch()
        running = self._tree.match(tokens, self._batch_invariant if batch_invariant else None)
        saved = self._host_cache.match(tokens, batch_invariant=batch_invariant)
        if running.length < saved.length <= self.free_cells:
            return saved
        return running

    def take(self, found: PrefixMatch, *, batch_invariant: bool = False) -> int:
        """Return an empty slot, filled with the prefix that was found.

        Args:
            found: What a match found.
            batch_invariant: Whether the sequence is batch-invariant; then the prefix must be so too.
        """
        slot = self._empty.pop(0)
        if batch_invariant:
            self._batch_invariant.add(slot)
        if found.slot is not None:
            self._operations.append(Copy(found.slot, slot, found.length))
            self.share(found.slot, slot, found.length)
        elif found.entry_id is not None:
            self._host_cache.touch(found.entry_id)
            self._operations.append(Restore(found.entry_id, slot, found.length))
            self.extend(slot, self._host_cache.tokens(found.entry_id)[: found.length])
        return slot

    def leave(
        self,
        slot: int,
        tokens: list[int] | None = None,
        *,
        comes_back: bool = False,
        defers_free: bool = False,
    ) -> None:
        """Take back a slot.

        Args:
            slot: The slot of a sequence that has ended or was preempted.
            tokens: What the slot holds, to be saved; None if it must not be relied on.
            comes_back: Whether the sequence will go on, so that the text is saved though little of it is new.
            defers_free: Whether freeing its cells is deferred until :meth:`free_deferred`. Otherwise all
                that was deferred is freed with them: it holds on to what it shares with this slot, too.
        """
        self._trim(slot)
        if self.prefix_cache and tokens:
            self._save(slot, tokens, is_needed=comes_back)
        self._reach = self.reach
        if self.length(slot):
            used = self._tree.n_cells
            self._tree.cut(slot, 0)
            self.n_deferred += used - self._tree.n_cells if defers_free else 0
            self._operations.append(DeferFree(slot) if defers_free else Truncate(slot, 0))
            self._has_deferred |= defers_free
        self._batch_invariant.discard(slot)
        self._empty.append(slot)
        if not defers_free:
            self.free_deferred()
        self._forget_reach()

    def free_deferred(self) -> None:
        """Free the cells whose freeing was deferred."""
        self._reach = self.reach
        if self._has_deferred:
            self._operations.append(FreeDeferred())
        self._has_deferred = False
        self.n_deferred = 0
        self._forget_reach()

    def _forget_reach(self) -> None:
        if not self.used_cells:
            self._reach = 0

    def reserve(self, slot: int, count: int) -> None:
        """Record positions behind those of a slot that are computed; they stay if they are recorded."""
        self._tails[slot] = self.length(slot) + count
        reserved = sum(end - self.length(each) for each, end in self._tails.items())
        self._reach = max(self._reach, self.used_cells + reserved)

    def trim(self) -> None:
        """Forget the reserved positions that were not recorded."""
        if self._tails:
            for slot in tuple(self._tails):
                self._trim(slot)

    def _trim(self, slot: int) -> None:
        if self._tails.pop(slot, 0) > self.length(slot):
            self._operations.append(Truncate(slot, self.length(slot)))

    def share(self, source: int, target: int, length: int) -> None:
        """Record that the backend has copied a prefix into an empty slot."""
        self._tree.share(source, target, length)

    def extend(self, slot: int, tokens: list[int]) -> None:
        """Record tokens that were computed behind those of a slot."""
        self._tree.extend(slot, tokens)

    def append(self, slot: int, token: int) -> None:
        """Record one token that was computed behind those of a slot."""
        self._tree.append(slot, token)

    def take_operations(self) -> list[Operation]:
        """Return the operations since the last call, in order."""
        taken, self._operations = self._operations, []
        return taken

    def _save(self, slot: int, tokens: list[int], *, is_needed: bool) -> None:
        batch_invariant = self._keeps_batch_invariant and slot in self._batch_invariant
        entry_id, dropped = self._host_cache.add(tokens, batch_invariant=batch_invariant, is_needed=is_needed)
        self._operations += map(Drop, dropped)
        if entry_id is not None:
            self._operations.append(Save(slot, len(tokens), entry_id))

    def invalidate(self) -> None:
        """Discard everything and empty every slot: after a failed step nothing can be relied on."""
        self._tree = PrefixTree()
        self._empty = list(range(self.n_slots))
        self._batch_invariant.clear()
        self._tails.clear()
        emptied = (Truncate(slot, 0) for slot in self._empty)
        self._operations = [*map(Drop, self._host_cache.clear()), *emptied]
        self._has_deferred = True  # whatever came of it
        self.free_deferred()
