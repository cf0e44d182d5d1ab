"""Texts that have left the KV cache, for prompts that will begin like them.

They do not stay in the cache, because every cell in use costs every decode: attention looks at each of them,
if only to see that it is masked. Outside of it they cost memory, and a copy each way.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

from engine.kvcache.prefix_tree import common_prefix

_WORTH_KEEPING = 32
"""Tokens of prefill that a text must be able to spare, beyond what another one spares."""
_WORTH_ITS_COST = 4
"""Tokens of memory that one token of news may cost."""


class _Text(NamedTuple):
    tokens: list[int]
    batch_invariant: bool
    """Whether it was computed so that it would be the same in any company."""


class HostPrefixCache:
    """Tokens of texts by number, the least recently used first.

    Args:
        room: Most tokens of all texts together.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._texts: dict[int, _Text] = {}
        self._numbers = itertools.count()
        self._size = 0

    def __len__(self) -> int:
        return len(self._texts)

    def tokens(self, number: int) -> list[int]:
        """Return a text."""
        return self._texts[number].tokens

    def match(self, tokens: list[int], *, batch_invariant: bool = False) -> tuple[int, int | None]:
        """Find the longest prefix of ``tokens`` that a text has; return its length, and the text's number.

        Args:
            tokens: What is asked for.
            batch_invariant: Whether only texts count that are the same in any company.
        """
        best: tuple[int, int | None] = (0, None)
        for number, text in self._texts.items():
            if batch_invariant and not text.batch_invariant:
                continue
            length = common_prefix(text.tokens, tokens)
            if length > best[0]:
                best = length, number
        return best

    def use(self, number: int) -> None:
        """Note that a text was of use just now."""
        self._texts[number] = self._texts.pop(number)

    def add(self, tokens: list[int], *, batch_invariant: bool = False) -> tuple[int | None, list[int]]:
        """Keep a text if it is worth it; return its number, and those of the texts to be forgotten for it.

        A text replaces the texts that it begins with, except that only a batch-invariant text replaces a
        batch-invariant one. A text that takes much more memory than it has new tokens, such as the second of
        several choices behind a long prompt, is not worth it.
        """
        known, number = self.match(tokens, batch_invariant=batch_invariant)
        dropped = [
            old
            for old, text in self._texts.items()
            if text.batch_invariant <= batch_invariant
            and common_prefix(text.tokens, tokens) == len(text.tokens)
        ]
        cost = len(tokens) - sum(len(self._texts[old].tokens) for old in dropped)
        news = len(tokens) - known
        if news < max(_WORTH_KEEPING, cost / _WORTH_ITS_COST) or len(tokens) > self._room:
            if number is not None:
                self.use(number)
            return None, []
        for old in dropped:
            self._forget(old)
        while self._size + len(tokens) > self._room:
            dropped.append(oldest := next(iter(self._texts)))
            self._forget(oldest)
        number = next(self._numbers)
        self._texts[number] = _Text(tokens, batch_invariant)
        self._size += len(tokens)
        return number, dropped

    def clear(self) -> list[int]:
        """Forget everything; return the numbers."""
        dropped = list(self._texts)
        self._texts.clear()
        self._size = 0
        return dropped

    def _forget(self, number: int) -> None:
        self._size -= len(self._texts.pop(number).tokens)
