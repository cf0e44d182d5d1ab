"""Prefixes in host memory: the tokens of sequences that have left the KV cache.

They do not stay in the KV cache, because every cell in use costs every decode: attention looks at each cell,
if only to see that it is masked. In host memory a prefix costs memory, and a copy each way.

This file keeps the books: which tokens are saved under which entry id. The backend holds the data.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

from engine.kvcache.prefix_match import PrefixMatch, common_prefix


class _Entry(NamedTuple):
    tokens: list[int]
    batch_invariant: bool
    """Whether the prefix was computed batch-invariantly."""


class HostPrefixCache:
    """Saved prefixes by entry id, the least recently used first.

    Args:
        capacity: Most tokens of all entries together.
        min_new_tokens: Fewest tokens that an entry must have beyond what another entry has already.
        max_cost: Most tokens of memory that one new token may cost.
    """

    def __init__(self, capacity: int, *, min_new_tokens: int, max_cost: float) -> None:
        self._capacity = capacity
        self._min_new_tokens = min_new_tokens
        self._max_cost = max_cost
        self._entries: dict[int, _Entry] = {}
        self._ids = itertools.count()
        self._size = 0

    def __len__(self) -> int:
        return len(self._entries)

    def tokens(self, entry_id: int) -> list[int]:
        """Return the tokens of an entry."""
        return self._entries[entry_id].tokens

    def entry(self, entry_id: int) -> tuple[list[int], bool] | None:
        """Return an entry's tokens, and whether it is batch-invariant; None if it is there no more."""
        return self._entries.get(entry_id)

    def match(self, tokens: list[int], *, batch_invariant: bool = False) -> PrefixMatch:
        """Find the entry with the longest prefix of ``tokens``.

        Args:
            tokens: What is to be computed.
            batch_invariant: Whether only batch-invariant entries count.
        """
        best = PrefixMatch()
        for entry_id, entry in self._entries.items():
            if batch_invariant and not entry.batch_invariant:
                continue
            length = common_prefix(entry.tokens, tokens)
            if length > best.length:
                best = PrefixMatch(length, entry_id=entry_id)
        return best

    def touch(self, entry_id: int) -> None:
        """Make an entry the most recently used one."""
        self._entries[entry_id] = self._entries.pop(entry_id)

    def add(
        self, tokens: list[int], *, batch_invariant: bool = False, is_needed: bool = False
    ) -> tuple[int | None, list[int]]:
        """Add an entry if it is worth its memory; return its id, and the ids of the entries it drives out.

        An entry that is needed, because its sequence will come back, is worth it if it has a new token.

        Where it is not worth its memory, the entry that makes it superfluous counts as used, and the id is
        None. An entry replaces those that are prefixes of it; the least recently used ones make room for the
        rest.
        """
        replaced = self._replaced_by(tokens, batch_invariant=batch_invariant)
        known = self.match(tokens, batch_invariant=batch_invariant)
        is_new = len(tokens) > known.length and len(tokens) <= self._capacity
        if not (is_new and (is_needed or self._is_worth_adding(tokens, known.length, replaced))):
            if known.entry_id is not None:
                self.touch(known.entry_id)
            return None, []
        for entry_id in replaced:
            self._remove(entry_id)
        evicted = self._make_room(len(tokens))
        entry_id = next(self._ids)
        self._entries[entry_id] = _Entry(tokens, batch_invariant)
        self._size += len(tokens)
        return entry_id, replaced + evicted

    def clear(self) -> list[int]:
        """Remove every entry; return the ids."""
        removed = list(self._entries)
        self._entries.clear()
        self._size = 0
        return removed

    def _replaced_by(self, tokens: list[int], *, batch_invariant: bool) -> list[int]:
        """Return the entries that are prefixes of ``tokens``.

        Only a batch-invariant entry replaces a batch-invariant one.
        """
        return [
            entry_id
            for entry_id, entry in self._entries.items()
            if entry.batch_invariant <= batch_invariant
            and common_prefix(entry.tokens, tokens) == len(entry.tokens)
        ]

    def _is_worth_adding(self, tokens: list[int], n_known: int, replaced: list[int]) -> bool:
        """Return True if the new tokens are enough, and enough for the memory that they cost.

        The second of several choices behind a long prompt, for example, costs the whole prompt's memory again
        for few new tokens.
        """
        n_new = len(tokens) - n_known
        cost = len(tokens) - sum(len(self._entries[entry_id].tokens) for entry_id in replaced)
        return n_new >= self._min_new_tokens and n_new * self._max_cost >= cost

    def _make_room(self, n_tokens: int) -> list[int]:
        """Evict the least recently used entries until ``n_tokens`` fit; return their ids."""
        evicted = []
        while self._size + n_tokens > self._capacity:
            evicted.append(oldest := next(iter(self._entries)))
            self._remove(oldest)
        return evicted

    def _remove(self, entry_id: int) -> None:
        self._size -= len(self._entries.pop(entry_id).tokens)
