"""The place of one answer in its form."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from engine.grammar.form import GrammarError

if TYPE_CHECKING:
    from llguidance import LLMatcher

_NOT_FITTING = re.compile(r"doesn't satisfy the grammar|out of range|parser stopped")
"""What the library says of a token that may not come next."""


class _Wear:
    """What all matchers of a form share: whether one has met a limit of what they have built together."""

    is_worn = False


class Matcher:
    """Which tokens may come next, after those that were taken.

    A copy shares what has been built so far with the matcher it was made of; only its place is its own. One
    thread at a time may use a matcher, and another at the same time its copy.

    Example:
        >>> matcher.fill(mask.ctypes.data, mask.nbytes)  # doctest: +SKIP
        >>> matcher.take(token)  # doctest: +SKIP
    """

    __slots__ = ("_wear", "field", "raw")

    def __init__(self, raw: LLMatcher, wear: _Wear | None = None) -> None:
        self.raw = raw
        """llguidance's matcher, for :class:`llguidance.LLExecutor`."""
        self.field = ""
        """The field that asked for the form, for whoever has to tell what is wrong."""
        self._wear = wear or _Wear()

    def take(self, token: int) -> None:
        """Go on behind a token.

        Raises:
            GrammarError: The token does not fit the form, or what may follow is too complex.
        """
        if not self.raw.consume_token(token):
            self.check()

    def forced(self) -> list[int]:
        """Return the tokens that must come next, as far as there is no choice; it does not take them.

        To take them costs less than a mask for each.
        """
        return self.raw.compute_ff_tokens()

    def forced_bytes(self) -> bytes:
        """Return the text that must come next, as far as there is no choice; it does not take it.

        The form forces text, and no tokens: any token that this text begins with may be drawn.
        """
        return self.raw.compute_ff_bytes()

    @property
    def is_done(self) -> bool:
        """Whether nothing but an end may come next; also behind an error.

        Where only the next mask finds that out, this says no.
        """
        return self.raw.is_stopped()

    @property
    def may_end(self) -> bool:
        """Whether the answer has the form if it ends here."""
        return self.raw.is_accepting() or (self.raw.is_stopped() and not self.raw.is_error())

    @property
    def is_worn(self) -> bool:
        """Whether a matcher of this form has met a limit, so that the form is better compiled anew."""
        return self._wear.is_worn

    def fill(self, pointer: int, n_bytes: int) -> None:
        """Write which tokens may come next, a bit for each, lowest bit first.

        After an error only ends are allowed; :meth:`check` tells.

        Args:
            pointer: Address of the first of the mask's 32-bit words.
            n_bytes: Size of the mask: four bytes for every 32 tokens of the vocabulary, and for the rest.
        """
        self.raw.unsafe_compute_mask_ptr(pointer, n_bytes)

    def check(self) -> None:
        """Raise what went wrong with the last mask or token, if anything did.

        Raises:
            GrammarError: The answer cannot go on.
        """
        if self.raw.is_error():
            said = self.raw.get_error()
            if _NOT_FITTING.search(said):
                raise GrammarError("The token does not fit the form.")
            if said.startswith("NoExtension"):
                raise GrammarError("No token of the model goes on in the form.")
            self._wear.is_worn = True
            raise GrammarError("What may come next in the form is too complex.")

    @property
    def problem(self) -> str | None:
        """What went wrong with the last mask or token; None if nothing did."""
        try:
            self.check()
        except GrammarError as error:
            return error.message
        return None

    def copy(self) -> Matcher:
        """Return another matcher at the same place."""
        twin = Matcher(self.raw.deep_copy(), self._wear)
        twin.field = self.field
        return twin
