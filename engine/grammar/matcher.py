"""The place of one answer in its form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.grammar.form import GrammarError

if TYPE_CHECKING:
    from llguidance import LLMatcher


class Matcher:
    """Which tokens may come next, after those that were taken.

    Example:
        >>> matcher.fill(mask.ctypes.data, mask.nbytes)  # doctest: +SKIP
        >>> matcher.take(token)  # doctest: +SKIP
    """

    def __init__(self, raw: LLMatcher) -> None:
        self.raw = raw
        """llguidance's matcher, for :class:`llguidance.LLExecutor`."""

    def take(self, token: int) -> None:
        """Go on behind a token.

        Raises:
            GrammarError: The token does not fit the form, or what may follow is too complex.
        """
        if not self.raw.consume_token(token):
            self.check()

    def forced(self) -> list[int]:
        """Return the tokens that must come next, as far as there is no choice."""
        return self.raw.compute_ff_tokens()

    @property
    def is_done(self) -> bool:
        """Whether nothing but an end may come next."""
        return self.raw.is_stopped()

    @property
    def may_end(self) -> bool:
        """Whether the answer has the form if it ends here."""
        return self.raw.is_accepting() or self.raw.is_stopped()

    def fill(self, pointer: int, n_bytes: int) -> None:
        """Write which tokens may come next, a bit for each, lowest bit first.

        After an error only ends are allowed; :meth:`check` tells.

        Args:
            pointer: Address of the first of the mask's 32-bit words.
            n_bytes: Size of the mask, four bytes for every 32 tokens that the vocabulary has or begins.
        """
        self.raw.unsafe_compute_mask_ptr(pointer, n_bytes)

    def check(self) -> None:
        """Raise what went wrong in the last mask or token, if anything did.

        Raises:
            GrammarError: The answer cannot go on.
        """
        if self.raw.is_error():
            raise GrammarError(self.raw.get_error())

    def copy(self) -> Matcher:
        """Return another matcher at the same place."""
        return Matcher(self.raw.deep_copy())
