"""What followed the last tokens of a text when they stood in it before."""

from __future__ import annotations

from functools import cached_property
from typing import Final

_MANY: Final = 8
_FEW: Final = 3
"""Tokens that have to be the same: better many than few. With two, text that repeats nothing finds what does
not follow."""
_LONGEST: Final = 64
"""Tokens beyond which nobody looks how many more are the same."""

_Ends = dict[tuple[int, ...], int]
"""For each group of tokens, the position behind its last occurrence that something follows."""


class PromptIndex:
    """Where the groups of tokens of a prompt stand; shared by the sequences that continue it."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens

    @cached_property
    def many(self) -> _Ends:
        """Where groups of many tokens end."""
        return self._ends(_MANY)

    @cached_property
    def few(self) -> _Ends:
        """Where groups of few tokens end."""
        return self._ends(_FEW)

    def _ends(self, length: int) -> _Ends:
        groups = zip(*(self.tokens[i:] for i in range(length)), strict=False)
        return dict(zip(groups, range(length, len(self.tokens)), strict=False))


class Lookup:
    """The index of one text, which grows token by token; each costs the same however long the text is.

    Drafts come from one place of the text, for as long as that is right; then from the last one that ends
    with the same tokens as the text.

    Args:
        prompt: The index of its prompt.
        generated: What was generated behind it.

    Attributes:
        matched: How many of the last tokens stand before that place, too; 0: there is none.

    >>> text = Lookup(PromptIndex([9, 1, 2, 3, 4, 5, 1, 2, 3]), [])
    >>> text.draft(4), text.draft(9), text.matched
    ([4, 5, 1, 2], [4, 5, 1, 2, 3, 4, 5, 1, 2], 3)
    """

    def __init__(self, prompt: PromptIndex, generated: list[int]) -> None:
        self._prompt = prompt
        self._text = prompt.tokens[:]
        self._many: _Ends = {}
        self._few: _Ends = {}
        self._last_many, self._last_few = tuple(self._text[-_MANY:]), tuple(self._text[-_FEW:])
        self._place = 0
        self.matched = 0
        self._find()
        for token in generated:
            self.append(token)

    def append(self, token: int) -> None:
        """Add the next token."""
        text = self._text
        self._many[self._last_many] = self._few[self._last_few] = len(text)
        goes_on = self.matched and text[self._place] == token
        text.append(token)
        self._last_many, self._last_few = tuple(text[-_MANY:]), tuple(text[-_FEW:])
        if not goes_on:
            self._find()
        else:
            self._place += 1
            if self.matched < _LONGEST:
                self.matched += 1

    def draft(self, most: int) -> list[int]:
        """Return up to ``most`` tokens that followed the last ones before; none if these are new.

        Where they repeat what they belong to, the repetition goes on.
        """
        if not self.matched:
            return []
        found = self._text[self._place : self._place + most]
        while len(found) < most:
            found += found[: most - len(found)]
        return found

    def _find(self) -> None:
        many, few, prompt = self._last_many, self._last_few, self._prompt
        place = self._few.get(few) or prompt.few.get(few)
        if place is None:  # so many tokens are not the same, either
            self.matched = 0
            return
        self._place = self._many.get(many) or prompt.many.get(many) or place
        self.matched = self._count_matched()

    def _count_matched(self) -> int:
        text, place = self._text, self._place
        count, most = _FEW, min(place, _LONGEST)
        while count < most and text[place - 1 - count] == text[-1 - count]:
            count += 1
        return count
