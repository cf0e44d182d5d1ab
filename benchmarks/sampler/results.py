"""All that one run of the sampler's benchmarks found."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from benchmarks.sampler.curve import Curve
from benchmarks.sampler.line import HEADING, Line
from benchmarks.sampler.machine import description

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(slots=True)
class Results:
    """Lines for the table, and points for the plot."""

    lines: list[Line] = field(default_factory=list)
    curve: Curve = field(default_factory=Curve)

    def table(self) -> Iterator[str]:
        """Write the table, if it has lines."""
        if self.lines:
            yield HEADING
            yield from (line.text() for line in self._ordered())

    def write(self, folder: Path) -> None:
        """Write ``sampler.json`` and ``sampler.svg``."""
        folder.mkdir(exist_ok=True)
        content = {
            "machine": description(),
            "unit": "median microseconds a row of logits",
            "lines": [_entry(line) for line in self._ordered()],
            "curve": self.curve.points,
        }
        text = json.dumps(content, indent=2, ensure_ascii=False)
        (folder / "sampler.json").write_text(text + "\n", encoding="utf-8")
        self.curve.plot(folder / "sampler.svg")

    def _ordered(self) -> list[Line]:
        return sorted(self.lines, key=lambda line: line.place)


def _entry(line: Line) -> dict[str, object]:
    entry = asdict(line) | {
        "figure": line.figure,
        "is": line.goal.kind.value,
        "goal": line.goal.bound(line.n_vocab),
        "reached": line.reached,
    }
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in entry.items()}
