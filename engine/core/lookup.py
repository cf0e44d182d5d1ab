"""What followed the last tokens of a text when they stood in it before."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_LENGTH: Final = 3
"""Tokens that have to be the same. With two, text that repeats nothing finds what does not follow."""

_Key = tuple[int, ...]


class PromptIndex:
    """Where the groups of tokens of a prompt stand; shared by the sequences that continue it."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens

    @cached_property
    def ends(self) -> Mapping[_Key, int]:
        """For each group of tokens, the position behind its last occurrence that something follows."""
        groups = zip(*(self.tokens[i:] for i in range(_LENGTH)), strict=False)
        return dict(zip(groups, range(_LENGTH, len(self.tokens)), strict=False))


class Lookup:
    """The index of one text, which grows token by token; each costs the same however long the text is.

    Args:
        prompt: The index of its prompt.
        generated: What was generated behind it.

    >>> text = Lookup(PromptIndex([1, 2, 3, 4, 5, 1, 2, 3]), [])
    >>> text.draft(4), text.draft(9)
    ([4, 5, 1, 2], [4, 5, 1, 2, 3, 4, 5, 1, 2])
    """

    def __init__(self, prompt: PromptIndex, generated: list[int]) -> None:
        self._prompt = prompt
        self._text = prompt.tokens[:]
        self._ends: dict[_Key, int] = {}
        for token in generated:
            self.append(token)

    def append(self, token: int) -> None:
        """Add the next token."""
        if len(self._text) >= _LENGTH:
            self._ends[tuple(self._text[-_LENGTH:])] = len(self._text)
        self._text.append(token)

    def draft(self, most: int) -> list[int]:
        """Return up to ``most`` tokens that followed the last ones before; none if these are new.

        Where they repeat what they belong to, the repetition goes on.
        """
        last = tuple(self._text[-_LENGTH:])
        end = self._ends.get(last) or self._prompt.ends.get(last)
        if end is None:
            return []
        found = self._text[end : end + most]
        while len(found) < most:
            found += found[: most - len(found)]
        return found
