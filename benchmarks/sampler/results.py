"""Sides that take turns, and all that one run of the sampler's benchmarks found."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.machine import Elsewhere, describe
from benchmarks.report import Panel, Table, plot, write_json
from benchmarks.sampler.comparisons import COMPARISONS, CONTRACT, Comparison

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from pytest_benchmark.fixture import BenchmarkFixture

    from benchmarks.sampler.sides import Side

_STRETCHES = 4
_SECONDS, _TURNS = 1.0, 5
"""What a stretch lasts at least, and how many turns each side has in it at least."""

_TABLE = Table(
    {"sampler, µs a row": "<46", "kernels": "<8", "n_vocab": ">8d", "other": ">10.1f", "engine": ">9.1f"}
    | {"figure": ">9", "goal": ">11", "elsewhere": ">11.2f"}
)


class Stretch(NamedTuple):
    """The times of sides that took turns."""

    microseconds: list[NDArray[np.float64]]
    """For each side ``[turns, rows]``, or ``[turns, 1]`` where all rows of a turn were timed as one."""
    elsewhere: float | None
    """Processors that other programs, or other machines on this host, kept busy meanwhile."""


def race(benchmark: BenchmarkFixture, sides: Sequence[Side]) -> Stretch:
    """Let the sides take turns in several stretches; return that in which others used the machine least."""
    stretches: list[Stretch] = []

    def stretch() -> None:
        elsewhere, end = Elsewhere(), perf_counter() + _SECONDS
        turns: list[list[list[float]]] = []
        while len(turns) < _TURNS or perf_counter() < end:
            turns.append([side() for side in sides])
        times = [np.array(of_side) * 1e6 for of_side in zip(*turns, strict=True)]
        stretches.append(Stretch(times, elsewhere.processors()))

    for side in sides:
        side()  # to warm up
    benchmark.pedantic(stretch, rounds=_STRETCHES)  # type: ignore[no-untyped-call]
    return min(stretches, key=lambda each: each.elsewhere or 0.0)


@dataclass(slots=True)
class Results:
    """Lines for the table, and points for the plot."""

    lines: list[tuple[Comparison, dict[str, Any]]] = field(default_factory=list)
    """What was compared, and what the JSON file says about it; times are microseconds a row of logits."""
    curve: dict[str, dict[int, float]] = field(default_factory=dict)
    """Side -> size of the vocabulary -> median microseconds a row."""

    def add(self, comparison: Comparison, n_vocab: int, stretch: Stretch) -> None:
        """Add a line from the times of our side and the other, in this order."""
        times = [comparison.of_rows(each, axis=1) for each in stretch.microseconds]
        ours, other = float(np.median(times[0])), float(np.median(times[-1]))
        ratio = float(np.median(times[-1] / times[0]))  # of neighbouring turns, not of the medians
        figure = comparison.kind.figure(ours, ratio)
        goal = comparison.goals[n_vocab >= 2**17]
        line = {
            "title": comparison.title,
            "n_vocab": n_vocab,
            "kernels": comparison.kernels,
            "ours": ours,
            "other": other if len(times) > 1 else None,
            "ratio": ratio,
            "elsewhere": stretch.elsewhere,
            "figure": figure,
            "is": comparison.kind.meaning,
            "goal": goal,
            "reached": goal is None or (figure >= goal if comparison.kind.sign == "≥" else figure <= goal),
        }
        rounded = {key: round(value, 3) if isinstance(value, float) else value for key, value in line.items()}
        self.lines.append((comparison, rounded))
        self.lines.sort(key=lambda each: (COMPARISONS.index(each[0]), each[1]["n_vocab"]))

    def add_point(self, side: str, n_vocab: int, microseconds: NDArray[np.float64]) -> None:
        """Add a point of the plot, from the times ``[turns, rows]`` of a side."""
        median = float(np.median(np.median(microseconds, axis=1)))
        self.curve.setdefault(side, {})[n_vocab] = round(median, 3)

    def table(self) -> Iterator[str]:
        """Return the heading of the table and its lines."""
        yield _TABLE.heading
        for comparison, line in self.lines:
            kind, goal = comparison.kind, line["goal"]
            yield _TABLE.line(
                *(line[column] for column in ("title", "kernels", "n_vocab", "other", "ours")),
                kind.form.format(line["figure"]),
                None if goal is None else f"{kind.sign} {kind.form.format(goal)}",
                line["elsewhere"],
                remarks=[] if line["reached"] else ["missed"],
            )

    def write(self, folder: Path) -> None:
        """Write ``sampler.json`` and ``sampler.svg``."""
        # llama.cpp draws from the rows of a context alone, so it has points of two models, which are no line.
        llama = "llama.cpp's chain, its candidates included"
        points = {line["n_vocab"]: line["other"] for comparison, line in self.lines if comparison is CONTRACT}
        curve = {**self.curve, llama: points}
        lines = [line for _, line in self.lines]
        unit = "median microseconds a row of logits"
        content = {"machine": describe(), "unit": unit, "lines": lines, "curve": curve}
        write_json(folder / "sampler.json", content)
        # The legend is in the order in which the lines end.
        ordered = dict(sorted(curve.items(), key=lambda side: -max(side[1].values())))
        title = "One draw: penalties, temperature, top-p; all but llama.cpp with logprobs=5"
        panel = Panel(title, ordered, dots=frozenset({llama}))
        plot(folder / "sampler.svg", [panel], "vocabulary, tokens", "µs a row, median", log_y=True)
