"""One model's points: at each of them the sides take turns, round after round."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.serving.goal import CLIENTS
from benchmarks.serving.job import Work
from benchmarks.serving.row import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.serving.plan import Plan, Point
    from benchmarks.serving.side import Side
    from benchmarks.serving.stage import Stage


def measure(stage: Stage, model: str, plan: Plan, rows: list[Row]) -> Iterator[Row]:
    """Yield each row when it is complete: closed loops, then the open one.

    Args:
        stage: The sides.
        model: The model's name in the table.
        plan: What is done.
        rows: Where rows are added when their first round begins: nothing is lost when one is interrupted.
    """
    closed: list[Row] = []
    for point in plan.points():
        sides = stage.sides(logprobs=point.work.logprobs is not None, http_only=point.http_only)
        found = [Row(model, side.server, side.door, point.work) for side in sides]
        rows += found
        closed += found
        _take_turns(sides, found, point)
        yield from found
    for side in stage.sides(logprobs=False):
        rate = plan.share * _closed_rate(side, closed)
        if rate > 0 and side.door != "python":
            row = Row(model, side.server, side.door, Work(plan.seconds, rate=rate))
            rows.append(row)
            row.turns.append(side.perform(row.work))
            yield row


def _take_turns(sides: list[Side], rows: list[Row], point: Point) -> None:
    """Go through the sides once a round, every second time backwards: what drifts favours none of them."""
    turns = list(zip(sides, rows, strict=True))
    for number in range(point.rounds):
        for side, row in turns if number % 2 == 0 else reversed(turns):
            row.turns.append(side.perform(point.work))


def _closed_rate(side: Side, closed: list[Row]) -> float:
    """Return a side's requests a second in the loop that the goals are about, else in its last."""
    own = [
        row
        for row in closed
        if (row.server, row.door) == (side.server, side.door) and row.work.logprobs is None
    ]
    chosen = [row for row in own if row.work.clients == CLIENTS] or own[-1:]
    return chosen[0].requests_per_s if chosen else 0.0
