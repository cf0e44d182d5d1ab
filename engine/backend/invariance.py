"""In which steps a row of logits depends on its own sequence alone, to the bit.

llama.cpp has several kernels for the products of a model. Which one takes a row, and so how it is rounded,
can depend on how many rows there are: some take groups of four, and another one the rows that are left over.
So steps are padded to whole groups. The product behind the layers takes only the tokens that leave logits,
and their number is padded, too. Attention on CPUs has three kernels: for up to 63 tokens, for more, and for
a lone token where the cache is long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

WIDEST: Final = 63
"""Most tokens for which attention takes each by itself, and its cache cell by cell."""
_REACH: Final = 256
"""Cells up to which it does so for a lone token, too; with more, each thread takes a part of the cache."""


class Padding(NamedTuple):
    """What is decoded in a step for nobody: some tokens, of which some leave a row of logits."""

    tokens: int = 0
    rows: int = 0


NO_PADDING: Final = Padding()


@dataclass(frozen=True, slots=True)
class BatchInvariance:
    """How many rows the products of a step must have for no row to depend on the others.

    Attributes:
        widest: Most tokens of such a step, padding included; 0: no step is batch-invariant.
        least: Fewest rows of a product, a multiple of ``unit``.
        unit: The number of rows is a multiple of it.
    """

    widest: int = 0
    least: int = 1
    unit: int = 1

    @property
    def max_tokens(self) -> int:
        """Most tokens of a step, before it is padded; 0 where no step is batch-invariant.

        >>> BatchInvariance(63).max_tokens, BatchInvariance(63, least=4, unit=4).max_tokens
        (63, 57)
        """
        return max(0, self.widest // self.unit * self.unit - self.least + 1)

    @property
    def is_free(self) -> bool:
        """Whether no step needs to be padded for its products."""
        return self.widest > 0 and self.least == 1

    def rows(self, count: int) -> int:
        """Return the rows that a product of so many rows has once it is padded.

        >>> [BatchInvariance(63, least=8, unit=4).rows(count) for count in (0, 1, 8, 9)]
        [0, 8, 8, 12]
        """
        return max(-(-count // self.unit) * self.unit, self.least) if count else 0

    def width(self, tokens: int, reach: int) -> int:
        """Return the tokens that a step of so many has once it is padded.

        Args:
            tokens: Its tokens, at least one.
            reach: The cells in use are all among this many at the beginning of the cache.

        >>> [BatchInvariance(63).width(1, reach) for reach in (256, 257)]
        [1, 2]
        """
        width = self.rows(tokens)
        return 2 if width == 1 and reach > _REACH else width

    def padding(self, tokens: int, rows: int, reach: int) -> Padding:
        """Return what a step needs besides; nothing if it is too wide to be batch-invariant.

        Args:
            tokens: Its tokens.
            rows: Those of them that leave a row of logits.
            reach: As in :meth:`width`.

        >>> BatchInvariance(63, least=4, unit=4).padding(12, 1, reach=20)
        Padding(tokens=4, rows=3)
        """
        if not tokens:
            return NO_PADDING
        more_rows = self.rows(rows) - rows
        width = self.width(tokens + more_rows, reach)
        return Padding(width - tokens, more_rows) if width <= self.widest else NO_PADDING


NEVER: Final = BatchInvariance()
"""No step is batch-invariant."""
