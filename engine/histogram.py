"""How many numbers fell between fixed bounds."""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple


class Distribution(NamedTuple):
    """What a histogram held at one moment."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    """Numbers up to each bound and above the one before it; the last: above all bounds."""
    total: float
    """The sum of all numbers."""


class Histogram:
    """Numbers, counted between bounds as they come.

    Any thread may add and read, and none waits for another: within the additions no function is called, so
    no other thread gets the interpreter meanwhile.

    Args:
        bounds: In ascending order; a number that equals a bound belongs below it.

    >>> seconds = Histogram((0.5, 1.0))
    >>> for each in (0.25, 0.5, 2.0):
    ...     seconds.add(each)
    >>> seconds.read()
    Distribution(bounds=(0.5, 1.0), counts=(2, 0, 1), total=2.75)
    """

    __slots__ = ("_bounds", "_counts", "_total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def add(self, number: float) -> None:
        """Count a number."""
        place = bisect_left(self._bounds, number)
        self._counts[place] += 1
        self._total += number

    def read(self) -> Distribution:
        """Return what was counted so far."""
        return Distribution(self._bounds, tuple(self._counts), self._total)
