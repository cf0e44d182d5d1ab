"""One line of the goals' table: a door of ours beside another side, round by round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.serving.figure import Figure, most
from benchmarks.serving.goal import CLIENTS, LOGPROBS, goals
from benchmarks.serving.server import OURS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.serving.goal import Goal
    from benchmarks.serving.row import Row

HEADING = (
    f"{f'tokens/s, {CLIENTS} clients':40}{'logprobs':>9}{'ratio':>8}{'goal':>9}{'rounds':>7}{'elsewhere':>10}"
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Ours over the other's, of turns that were one soon after the other."""

    goal: Goal
    logprobs: int | None
    ratio: Figure
    """Median of the rounds' own ratios, of those in which both sides were calm if there are any."""

    @property
    def reached(self) -> bool:
        """Whether the ratio is what it is meant to be."""
        return self.ratio.value >= self.goal.least

    def text(self) -> str:
        """Write the line as :data:`HEADING` has it."""
        ratio = self.ratio
        elsewhere = "-" if ratio.elsewhere is None else f"{ratio.elsewhere:.2f}"
        return (
            f"{self.goal.title:40}{'-' if self.logprobs is None else self.logprobs:>9}{ratio.value:7.2f}x"
            f"{f'≥ {self.goal.least:.2f}x':>9}{f'{ratio.counted}/{ratio.rounds}':>7}{elsewhere:>10}"
            f"{'' if self.reached else '  missed'}{'' if ratio.is_calm else '  busy'}"
        )

    def entry(self) -> dict[str, object]:
        """Return the line for JSON."""
        return {
            "ours": self.goal.ours,
            "server": self.goal.server,
            "door": self.goal.door,
            "logprobs": self.logprobs,
            "ratio": self.ratio.entry(),
            "goal": self.goal.least,
            "reached": self.reached,
        }


def ratio(ours: Row, other: Row) -> Figure | None:
    """Return how many times the other's tokens per second ours are; None if the other never had any."""
    return Figure.of(
        [
            (
                mine.summary.tokens_per_s / theirs.summary.tokens_per_s,
                most([mine.spent.elsewhere, theirs.spent.elsewhere]),
            )
            for mine, theirs in zip(ours.turns, other.turns, strict=False)  # an interrupted round has no pair
            if theirs.summary.tokens_per_s
        ]
    )


def comparisons(model: str, rows: Sequence[Row]) -> list[Comparison]:
    """Compare what a model's rows have of its goals, without log-probabilities and with them."""
    found: list[Comparison] = []
    for logprobs in (None, LOGPROBS):
        sides = {
            (row.server, row.door): row
            for row in rows
            if (row.model, row.work.clients, row.work.logprobs) == (model, CLIENTS, logprobs)
        }
        for goal in goals(model):
            ours, other = sides.get((OURS, goal.ours)), sides.get((goal.server, goal.door))
            figure = ratio(ours, other) if ours and other else None
            if figure:
                found.append(Comparison(goal, logprobs, figure))
    return found
