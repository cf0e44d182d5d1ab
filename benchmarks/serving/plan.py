"""Which points are measured, how often, and about how long all of that takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.serving.goal import CLIENTS, LOGPROBS
from benchmarks.serving.job import Work

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_STARTS = 40.0  # seconds in which a model's servers start and warm up
_REST = 1.5  # seconds until a side is idle again
_SIDES = 5
_HTTP_SIDES = 3


@dataclass(frozen=True, slots=True)
class Point:
    """Some work that sides take turns at."""

    work: Work
    rounds: int
    http_only: bool
    """Whether only the servers' HTTP doors take part."""

    @property
    def seconds(self) -> float:
        """About how long it takes."""
        return (self.work.seconds + _REST) * self.rounds * (_HTTP_SIDES if self.http_only else _SIDES)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done with each model."""

    clients: Sequence[int]
    """The closed loops."""
    share: float
    """The open loop's requests a second, as a part of those of the closed loop that the goals are about."""
    seconds: float
    """How long requests are sent in one turn."""
    rounds: int
    """How often the point that the goals are about is measured."""

    def points(self) -> Iterator[Point]:
        """Yield the closed loops: those that the goals are about first, with all sides and all rounds."""
        if CLIENTS in self.clients:
            for logprobs in (None, LOGPROBS):
                yield Point(Work(self.seconds, CLIENTS, logprobs=logprobs), self.rounds, http_only=False)
        for clients in self.clients:
            if clients != CLIENTS:
                yield Point(Work(self.seconds, clients), 1, http_only=True)

    def expected_seconds(self) -> float:
        """Return about how long the points of one model take, on the machine of docs/performance.md."""
        opened = self.seconds * (_SIDES - 1)
        return _STARTS + opened + sum(point.seconds for point in self.points())
