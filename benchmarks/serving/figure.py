"""A figure out of several rounds, of which those count in which the machine was calm."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

CALM = 0.1
"""Processors that something else may keep busy, or the host take away, while a round still counts as calm."""


def is_calm(elsewhere: float | None) -> bool:
    """Tell whether a round was calm; one is where the system does not tell."""
    return elsewhere is None or elsewhere <= CALM


def calm_ones(rounds: Sequence[T], elsewhere: Callable[[T], float | None]) -> list[T]:
    """Return the calm rounds, or all of them if none was.

    They are chosen by what the rest of the machine did, and never by their result.
    """
    return [one for one in rounds if is_calm(elsewhere(one))] or list(rounds)


def most(elsewhere: Sequence[float | None]) -> float | None:
    """Return the most of what was told, or None if nothing was."""
    return max((processors for processors in elsewhere if processors is not None), default=None)


@dataclass(frozen=True, slots=True)
class Figure:
    """The median of the rounds that count."""

    value: float
    elsewhere: float | None
    """Most processors that something else kept busy in any of those."""
    counted: int
    """How many rounds those are."""
    rounds: int
    """How many there were."""

    @classmethod
    def of(cls, rounds: Sequence[tuple[float, float | None]]) -> Figure | None:
        """Make a figure of each round's value and the processors busy elsewhere; None of no rounds."""
        if not rounds:
            return None
        chosen = calm_ones(rounds, lambda one: one[1])
        return cls(
            median(value for value, _ in chosen),
            most([elsewhere for _, elsewhere in chosen]),
            len(chosen),
            len(rounds),
        )

    @property
    def is_calm(self) -> bool:
        """Whether the rounds that count were calm."""
        return is_calm(self.elsewhere)

    def entry(self) -> dict[str, object]:
        """Return the figure for JSON."""
        rounded = {k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(self).items()}
        return rounded | {"calm": self.is_calm}
