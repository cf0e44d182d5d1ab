"""What a bad network does to the bytes of a connection, drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

LONG_STALL = 24.0
"""Seconds in which a request does not go on; longer than the server waits for headers."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What befalls the bytes of one direction."""

    piece: int = 1 << 16
    """Most bytes that are passed at once."""
    pause: float = 0.0
    """Seconds before each piece."""
    stall_after: int | None = None
    """Bytes after which nothing passes for ``stall_seconds``."""
    stall_seconds: float = 0.0
    cut_after: int | None = None
    """Bytes after which the connection is cut."""

    def size(self, passed: int, available: int) -> int:
        """Return how many of the available bytes pass next; none pass a place where something happens."""
        marks = [mark - passed for mark in (self.stall_after, self.cut_after) if mark is not None]
        return min(available, self.piece, *(mark for mark in marks if mark > 0))


class Weather(NamedTuple):
    """What befalls a connection."""

    up: Trouble = Trouble()
    """From the client to the server."""
    down: Trouble = Trouble()
    """From the server to the client."""
    cut_seconds: float | None = None
    """Seconds after which it is cut, whatever has passed."""
    is_reset: bool = False
    """Whether it is cut as by a crash, not by a close."""


_KINDS: dict[str, tuple[int, Callable[[Random], Trouble]]] = {
    "none": (30, lambda _: Trouble()),
    "split": (20, lambda random: Trouble(piece=random.randint(2, 50))),
    "trickle": (12, lambda random: Trouble(piece=1, pause=random.uniform(0, 0.001))),
    "delay": (12, lambda random: Trouble(pause=random.uniform(0, 0.5))),
    "stall": (12, lambda random: Trouble(stall_after=_place(random), stall_seconds=random.uniform(0.5, 4))),
    "long stall": (2, lambda random: Trouble(stall_after=random.randrange(300), stall_seconds=LONG_STALL)),
    "cut": (14, lambda random: Trouble(cut_after=_place(random))),
}
"""Name -> how often it is drawn, and how it is made."""
_WEIGHTS = [weight for weight, _ in _KINDS.values()]


def random_weather(random: Random) -> Weather:
    """Return the weather of a visit; about every other one is bad enough to notice."""
    up, down = random.choices([make for _, make in _KINDS.values()], _WEIGHTS, k=2)
    cut_seconds = random.uniform(0, 3) if random.random() < 0.15 else None
    return Weather(up(random), down(random), cut_seconds, random.random() < 0.5)


def _place(random: Random) -> int:
    """Return a number of bytes within a request or an answer, or behind it."""
    return random.randrange(2000)
