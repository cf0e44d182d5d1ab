"""What the tokens before a row cost: the part of a step that grows with its sequences.

A row attends to every token before it. What that takes is no straight line: with sliding windows it stops to
grow, and kernels change with the number of rows that attend to the same tokens. So there is a curve for rows
of decodes, one for guesses, which attend to what their decode attends to, and one for prompts. Each has a
point at every power of two. One is measured when a model is loaded; the others lie on the line through it,
until a step shows them.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

_SHORTEST = 64
"""Tokens before a row; fewer cost next to nothing."""
_KNOWN = 16
"""Steps after which a point moves slowly."""
_LEAST_GAIN = 0.02
"""The part that a point takes then of what it did not expect."""


class Depth(NamedTuple):
    """How many tokens lie before the rows of a step, on average."""

    decodes: float = 0.0
    prompts: float = 0.0


class AttentionCost:
    """Seconds that one row takes for the tokens before it.

    Args:
        per_token: Seconds for each of them, as measured.
        at: Before how many that was measured; 0 if nothing was.
        longest: Most tokens before a row; more count as so many.
    """

    def __init__(self, per_token: float = 0.0, at: int = 0, *, longest: int = 1 << 20) -> None:
        self._depths = [_SHORTEST << i for i in range(max((longest - 1) // _SHORTEST, 1).bit_length() + 1)]
        self._seconds = [per_token * depth for depth in self._depths]
        self._n_measured = [0] * len(self._depths)
        if at:
            self._n_measured[self._nearest(at)] = _KNOWN

    def seconds(self, depth: float) -> float:
        """Return what a row takes for so many tokens before it.

        >>> AttentionCost(2e-6, at=64).seconds(500)
        0.001
        """
        if depth < _SHORTEST:
            return self._seconds[0] * depth / _SHORTEST
        depth = min(depth, self._depths[-1])
        above = max(bisect_left(self._depths, depth), 1)
        low, high = self._depths[above - 1], self._depths[above]
        start, end = self._seconds[above - 1], self._seconds[above]
        return start + (depth - low) / (high - low) * (end - start)

    def table(self) -> dict[int, float]:
        """Return the points that were measured: tokens before a row, and seconds for them."""
        points = zip(self._depths, self._seconds, self._n_measured, strict=True)
        return {depth: seconds for depth, seconds, n_measured in points if n_measured}

    def take(self, depth: float, excess: float) -> float:
        """Learn from a row that took so many seconds more than expected; return the part that is learned.

        The rest is for others to explain: all of it where next to nothing lies before the row.
        """
        if depth < _SHORTEST:
            return 0.0
        place = self._nearest(depth)
        gain = max(_LEAST_GAIN, 1 / (self._n_measured[place] + 1))
        self._seconds[place] = max(self._seconds[place] + gain * excess, 0.0)
        self._n_measured[place] += 1
        return gain

    def _nearest(self, depth: float) -> int:
        above = min(bisect_left(self._depths, depth), len(self._depths) - 1)
        low, high = self._depths[max(above - 1, 0)], self._depths[above]
        return above if depth * depth >= low * high or above == 0 else above - 1


class AttentionCosts(NamedTuple):
    """What rows take for the tokens before them, by what they are."""

    decodes: AttentionCost
    guesses: AttentionCost
    prompts: AttentionCost

    @classmethod
    def unknown(cls, *, longest: int = 1 << 20) -> AttentionCosts:
        """Return what is believed before anything is measured: that they take nothing."""
        return cls(*(AttentionCost(longest=longest) for _ in range(3)))
