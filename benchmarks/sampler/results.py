"""All that one run of the sampler's benchmarks found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.machine import describe
from benchmarks.report import Panel, plot, write_json
from benchmarks.sampler.goals import LINES, Line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LLAMA = "llama.cpp's chain, its candidates included"
"""The side that draws at the vocabulary of a context alone: points of two models, which are no line."""


@dataclass(slots=True)
class Results:
    """Lines for the table, and points for the plot."""

    lines: list[Line] = field(default_factory=list)
    curve: dict[str, dict[int, float]] = field(default_factory=dict)
    """Side -> size of the vocabulary -> median microseconds a row."""

    @property
    def is_whole(self) -> bool:
        """True if there are lines for the plot, not only llama.cpp's points."""
        return any(side != LLAMA for side in self.curve)

    def table(self) -> Iterator[str]:
        """Write the table, if it has lines."""
        if self.lines:
            yield LINES.heading
            yield from (line.text() for line in self._ordered())

    def write(self, folder: Path) -> None:
        """Write ``sampler.json`` and ``sampler.svg``."""
        content = {
            "machine": describe(),
            "unit": "median microseconds a row of logits",
            "lines": [line.entry() for line in self._ordered()],
            "curve": self.curve,
        }
        write_json(folder / "sampler.json", content)
        # The legend is in the order in which the lines end.
        lines = dict(sorted(self.curve.items(), key=lambda side: -max(side[1].values())))
        title = "One draw: penalties, temperature, top-p; all but llama.cpp with logprobs=5"
        panel = Panel(title, lines, dots=frozenset({LLAMA}))
        plot(folder / "sampler.svg", [panel], "vocabulary, tokens", "µs a row, median", log_y=True)

    def _ordered(self) -> list[Line]:
        return sorted(self.lines, key=lambda line: line.place)
