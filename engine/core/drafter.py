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
    before there is something to lose.

    Attributes:
        chance: How probable it is that a guess is right, from 0 to 1.
    """

    __slots__ = ("_lookup", "_next", "chance")

    def __init__(self, prompt: PromptIndex, generated: list[int]) -> None:
        self._lookup = Lookup(prompt, generated)
        self.chance = _UNKNOWN
        self._guess()

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
            self.chance += _GAIN * ((token == self._next) - self.chance)
        self._lookup.append(token)
        self._guess()

    def _guess(self) -> None:
        guess = self._lookup.draft(1)
        self._next = guess[0] if guess else None
