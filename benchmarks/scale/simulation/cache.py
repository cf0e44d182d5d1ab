"""The prefixes that a worker keeps: what :mod:`engine.kvcache.host_cache` does, for conversations.

The tokens of a conversation are one stream, of which each prompt, and each prefix that is kept, is the
beginning. So a conversation and a length stand for the tokens, and nothing is searched. A test compares this
with the engine's, token by token.
"""

from __future__ import annotations

from engine.core.policy import DEFAULT_POLICY


class ConversationCache:
    """The longest prefix of each conversation, the least recently used first.

    Args:
        capacity: Most tokens of all prefixes together.
        n_common: Tokens with which every conversation begins.
    """

    def __init__(self, capacity: int, n_common: int) -> None:
        self.capacity = capacity
        self.size = 0
        self._n_common = n_common
        self._lengths: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._lengths)

    def match(self, conversation: int, length: int) -> tuple[int, int | None]:
        """Return how many of the first ``length`` tokens are kept, and by which conversation's prefix."""
        own = self._lengths.get(conversation)
        if own is not None:
            return min(own, length), conversation
        if not self._lengths or not self._n_common:
            return 0, None
        # All begin alike, so the first that is found is the least recently used one, as in the engine.
        return min(self._n_common, length), next(iter(self._lengths))

    def touch(self, conversation: int) -> None:
        """Make a conversation's prefix the most recently used one."""
        self._lengths[conversation] = self._lengths.pop(conversation)

    def add(self, conversation: int, length: int) -> None:
        """Keep a prefix if it is worth its memory; the least recently used ones make room."""
        known, holder = self.match(conversation, length)
        replaced = self._lengths.get(conversation, 0)
        n_new = length - known
        is_worth_it = (
            n_new >= max(DEFAULT_POLICY.min_new_tokens, 1)
            and n_new * DEFAULT_POLICY.max_cost >= length - replaced
            and length <= self.capacity
        )
        if not is_worth_it:
            if holder is not None:
                self.touch(holder)
            return
        self.size -= self._lengths.pop(conversation, 0)
        while self.size + length > self.capacity:
            self.size -= self._lengths.pop(next(iter(self._lengths)))
        self._lengths[conversation] = length
        self.size += length

    def clear(self) -> None:
        """Forget everything, as a process that ends does."""
        self._lengths.clear()
        self.size = 0
