"""Who gives up a slot to whom, so that clients share the slots in time and not only as sequences begin."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from engine.core.sequence import Sequence


class Shares:
    """How many slots each client has.

    A client gives up a slot only to one that has at least two fewer: afterwards it has no fewer than the
    other, so that the slot does not go back and forth.

    Args:
        running: The sequences with a slot.
    """

    def __init__(self, running: list[Sequence]) -> None:
        self._youngest_first = sorted(running, key=lambda sequence: sequence.turn, reverse=True)
        self._counts = Counter(sequence.prompt.client for sequence in running)

    def is_short(self, client: Hashable) -> bool:
        """Return True if somebody would give up a slot to this client."""
        return max(self._counts.values(), default=0) >= self._counts[client] + 2

    def givers(self, client: Hashable, staying: list[Sequence]) -> Iterator[Sequence]:
        """Yield the sequences that give up their slots to a client, the youngest of whoever has most first.

        Args:
            client: Who is short.
            staying: Sequences that do not: they have just got theirs.
        """
        counts, left = self._counts.copy(), [each for each in self._youngest_first if each not in staying]
        while left:
            giver = max(left, key=lambda sequence: counts[sequence.prompt.client])
            if counts[giver.prompt.client] < counts[client] + 2:
                return
            counts[giver.prompt.client] -= 1
            left.remove(giver)
            yield giver
