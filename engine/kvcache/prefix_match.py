"""How far tokens are cached already, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_FEW = 8


class PrefixMatch(NamedTuple):
    """The longest prefix of some tokens that need not be computed, and where it is, if it is anywhere."""

    length: int = 0
    slot: int | None = None
    """The slot of a running sequence, whose cells can be shared."""
    entry_id: int | None = None
    """The entry of the host cache that holds it."""

    @property
    def n_shared(self) -> int:
        """Tokens for which no new cell is needed."""
        return self.length if self.slot is not None else 0


def common_prefix(run: Sequence[int], tokens: Sequence[int], start: int = 0) -> int:
    """Return how many tokens of ``run`` equal those of ``tokens`` from ``start`` on."""
    most = min(len(run), len(tokens) - start)
    few = min(most, _FEW)
    if run[:few] != tokens[start : start + few]:  # most runs differ early; this finds it without copying them
        most = few
    elif run[:most] == tokens[start : start + most]:
        return most
    low, high = 0, most  # the first ``low`` are equal, the first ``high`` are not
    while high - low > 1:
        middle = (low + high) // 2
        if run[low:middle] == tokens[start + low : start + middle]:
            low = middle
        else:
            high = middle
    return low
