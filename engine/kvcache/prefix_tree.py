"""What the KV cache holds: a tree of tokens, in which slots share the prefixes that they have in common.

A node is a run of tokens that are in the cache once, for all the slots that use them. The tokens of a slot
are the path from the root to the node where it ends. So a copy of a prefix costs nothing, the cells in use
are the tokens of the tree, and the longest cached prefix of a prompt is found by walking down.

Two slots that computed the same tokens separately hold them in two nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.kvcache.prefix_match import PrefixMatch, common_prefix

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet


class _Node:
    """A run of tokens from position ``start`` on."""

    __slots__ = ("children", "parent", "slots", "start", "tokens")

    def __init__(self, tokens: list[int], parent: _Node | None, start: int) -> None:
        self.tokens = tokens
        self.parent = parent
        self.start = start
        self.children: list[_Node] = []
        self.slots: set[int] = set()
        """The slots that end here."""

    @property
    def end(self) -> int:
        return self.start + len(self.tokens)

    @property
    def is_used(self) -> bool:
        return bool(self.slots or self.children)

    @property
    def is_of_one(self) -> bool:
        """True if one slot ends here and no other passes through."""
        return not self.children and len(self.slots) == 1

    def any_slot(self, among: AbstractSet[int] | None = None) -> int | None:
        """Return a slot that passes through here or ends here, or None."""
        for slot in self.slots:
            if among is None or slot in among:
                return slot
        found = (child.any_slot(among) for child in self.children)
        return next((slot for slot in found if slot is not None), None)

    def split(self, length: int) -> _Node:
        """Cut the run in two; return the front one, of ``length`` tokens."""
        front = _Node(self.tokens[:length], self.parent, self.start)
        if self.parent is not None:
            siblings = self.parent.children
            siblings[siblings.index(self)] = front
        front.children.append(self)
        self.tokens = self.tokens[length:]
        self.parent, self.start = front, front.end
        return front


class PrefixTree:
    """The tokens of all slots."""

    def __init__(self) -> None:
        self._root = _Node([], None, 0)
        self._ends: dict[int, _Node] = {}
        self._n_cells = 0

    @property
    def n_cells(self) -> int:
        """Cells of the KV cache that are in use, shared ones counted once."""
        return self._n_cells

    def length(self, slot: int) -> int:
        """Return how many tokens a slot holds."""
        return self._ends.get(slot, self._root).end

    def runs(self, slot: int) -> list[tuple[int, int]]:
        """Return the runs of a slot's tokens from the first on: the id of each, and how many tokens it has.

        Slots that share a run have the same id.
        """
        found: list[tuple[int, int]] = []
        node = self._ends.get(slot, self._root)
        while node.parent is not None:
            found.append((id(node), len(node.tokens)))
            node = node.parent
        return found[::-1]

    def match(self, tokens: Sequence[int], among: AbstractSet[int] | None = None) -> PrefixMatch:
        """Find the longest prefix of ``tokens`` that the cache holds, or that some of its slots hold."""
        best, at = self._root, 0
        pending = [(child, 0) for child in self._root.children]
        while pending:  # several nodes may begin alike, where they were computed apart
            node, start = pending.pop()
            if among is not None and node.any_slot(among) is None:
                continue
            length = start + common_prefix(node.tokens, tokens, start)
            if length > at:
                best, at = node, length
            if length == node.end:
                pending.extend((child, length) for child in node.children)
        return PrefixMatch(at, slot=best.any_slot(among) if at else None)

    def share(self, source: int, target: int, length: int) -> None:
        """Let ``target``, which holds nothing, hold the first ``length`` tokens of ``source``."""
        self._end_at(target, self._node_at(self._ends[source], length))

    def extend(self, slot: int, tokens: list[int]) -> None:
        """Append tokens to a slot."""
        node = self._ends.get(slot, self._root)
        self._n_cells += len(tokens)
        if node is not self._root and node.is_of_one:
            node.tokens.extend(tokens)
            return
        child = _Node(list(tokens), node, node.end)
        node.children.append(child)
        self._leave(slot)
        self._end_at(slot, child)

    def append(self, slot: int, token: int) -> None:
        """Append one token to a slot, as every running sequence does in every step."""
        node = self._ends.get(slot)
        if node is not None and node.is_of_one:
            node.tokens.append(token)
            self._n_cells += 1
        else:
            self.extend(slot, [token])

    def cut(self, slot: int, length: int) -> None:
        """Cut a slot to its first ``length`` tokens; tokens that no other slot holds leave the cache."""
        end = self._ends.get(slot)
        if end is None or length >= end.end:
            return
        target = self._node_at(end, length)
        self._leave(slot)
        self._end_at(slot, target)
        self._prune(end)

    @staticmethod
    def _node_at(node: _Node, length: int) -> _Node:
        """Return the node of the path to ``node`` that ends at ``length``, split there if none does."""
        while node.parent is not None and node.start >= length:
            node = node.parent
        return node if node.end == length else node.split(length - node.start)

    def _end_at(self, slot: int, node: _Node) -> None:
        if node is not self._root:
            node.slots.add(slot)
            self._ends[slot] = node

    def _leave(self, slot: int) -> None:
        node = self._ends.pop(slot, None)
        if node is not None:
            node.slots.discard(slot)

    def _prune(self, node: _Node) -> None:
        """Remove the unused nodes from here up."""
        while node.parent is not None and not node.is_used:
            self._n_cells -= len(node.tokens)
            node.parent.children.remove(node)
            node = node.parent
