"""Guesses the next tokens of a sequence, so that a step can compute several of them at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from engine.core.lookup import Lookup

if TYPE_CHECKING:
    from engine.core.lookup import PromptIndex

_UNKNOWN: Final = 0.5
"""The chance of a guess before any was tried."""
_GAIN: Final = 0.2
"""How much one guess counts."""


class Drafter:
    """What the text of one sequence says about its next tokens, and how often that was right.

    Every guess is compared with what was drawn, also if no step made use of it: so the chance is known
    before there is something to lose. A place that is like the end of the text for long is right more often
    than one that shares three tokens with it, so each power of two has a chance of its own.
    """

    __slots__ = ("_chances", "_lookup", "_next")

    def __init__(self, prompt: PromptIndex, generated: list[int]) -> None:
        self._lookup = Lookup(prompt, generated)
        self._chances: dict[int, float] = {}  # by the bits of the number of tokens that are alike
        self._guess()

    @property
    def chance(self) -> float:
        """How probable it is that a guess is right, from 0 to 1.

        What was never tried is believed to be as good as what is a little less alike.
        """
        return self._chance_at(self._lookup.matched.bit_length())

    @property
    def has_guess(self) -> bool:
        """Whether anything is known about the next token."""
        return self._next is not None

    def draft(self, most: int) -> list[int]:
        """Return a guess at up to ``most`` next tokens."""
        return self._lookup.draft(most)

    def note(self, token: int) -> None:
        """Learn from the token that was drawn."""
        if self._next is not None:
            likeness = self._lookup.matched.bit_length()
            chance = self._chance_at(likeness)
            self._chances[likeness] = chance + _GAIN * ((token == self._next) - chance)
        self._lookup.append(token)
        self._guess()

    def _guess(self) -> None:
        guess = self._lookup.draft(1)
        self._next = guess[0] if guess else None

    def _chance_at(self, likeness: int) -> float:
        while likeness and likeness not in self._chances:
            likeness -= 1
        return self._chances.get(likeness, _UNKNOWN)
