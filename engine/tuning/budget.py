"""How long the work may take, and how far it is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class Progress(NamedTuple):
    """How far the work is."""

    fraction: float
    """From 0 to 1; it never falls."""
    doing: str
    """What is being done, in a few words."""


class Budget:
    """Time that is shared among stages: each has to leave the next ones theirs.

    Args:
        seconds: All there is.
        tell: Gets each step of the progress.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        seconds: float,
        tell: Callable[[Progress], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seconds = seconds
        self._clock, self._tell = clock, tell
        self._began = clock()
        self._fraction = 0.0

    @property
    def used(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self._began

    def left_until(self, share: float) -> float:
        """Return the seconds until a share of all the time has passed; less than 0 afterwards."""
        return share * self.seconds - self.used

    def allows(self, seconds: float, share: float) -> bool:
        """Return True if so many seconds more end before a share of all the time has passed."""
        return seconds <= self.left_until(share)

    def tell(self, fraction: float, doing: str) -> None:
        """Tell how far the work is; what is less than before counts as before."""
        self._fraction = max(self._fraction, min(fraction, 1.0))
        self._tell(Progress(self._fraction, doing))
