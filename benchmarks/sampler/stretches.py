"""Rounds of a race in stretches, and how calm the machine was in each."""

from __future__ import annotations

from benchmarks.report import Elsewhere


class Stretches:
    """Stretches of rounds: told before each round, they watch what else the machine did in each of them."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._rounds = 0
        self._watch = Elsewhere()
        self._elsewhere: list[float | None] = []

    def next_round(self) -> None:
        """Begin a round, and a stretch with it when one is full."""
        if self._rounds > 0 and self._rounds % self._length == 0:
            self._end_stretch()
        self._rounds += 1

    def calmest(self) -> tuple[slice, float | None]:
        """End the last stretch. Return the rounds of the calmest, and the processors busy elsewhere in it."""
        self._end_stretch()
        number = min(range(len(self._elsewhere)), key=lambda i: self._elsewhere[i] or 0.0)
        return slice(number * self._length, (number + 1) * self._length), self._elsewhere[number]

    def _end_stretch(self) -> None:
        self._elsewhere.append(self._watch.processors())
        self._watch = Elsewhere()
