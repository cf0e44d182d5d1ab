"""All that one run found: rows and lines for the tables, a JSON file and a plot."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.sampler.machine import description
from benchmarks.serving import comparison, line
from benchmarks.serving.comparison import comparisons
from benchmarks.serving.curve import plot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.serving.line import Line
    from benchmarks.serving.row import Row

_SPINNING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")  # what was set for all servers alike


@dataclass(slots=True)
class Results:
    """What was found so far."""

    rows: list[Row] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    """Of the scenarios."""
    absent: dict[str, str] = field(default_factory=dict)
    """Server -> why it could not be measured."""
    idle: dict[str, dict[str, float]] = field(default_factory=dict)
    """Model -> side -> processors that it keeps busy while nobody asks it anything."""

    def tables(self) -> Iterator[str]:
        """Write what the goals are about, and what went wrong."""
        for model in self._models():
            compared = comparisons(model, self.rows)
            if compared:
                yield f"\n{model}\n{comparison.HEADING}"
                yield from (found.text() for found in compared)
            scenarios = [found for found in self.lines if found.model == model]
            if scenarios:
                yield f"\n{model}\n{line.HEADING}"
                yield from (found.text() for found in scenarios)
        for row in self.rows:
            if row.first_error:
                yield f"{row.model}, {row.server}, {row.door}, {row.work.load}: {row.first_error}"

    def write(self, folder: Path, peers: dict[str, str]) -> None:
        """Write ``serving.json`` and ``serving.svg``; ``peers`` are the versions of the other servers."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "machine": description(),
            "peers": peers,
            "absent": self.absent,
            "environment": {name: os.environ[name] for name in _SPINNING if name in os.environ},
            "unit": "tokens per second; times in milliseconds; processor time in seconds",
            "models": {model: self._model(model) for model in self._models()},
        }
        text = json.dumps(content, indent=2, ensure_ascii=False)
        (folder / "serving.json").write_text(text + "\n", encoding="utf-8")
        plot(self.rows, folder / "serving.svg")

    def _models(self) -> list[str]:
        return list(dict.fromkeys([row.model for row in self.rows] + [found.model for found in self.lines]))

    def _model(self, model: str) -> dict[str, object]:
        return {
            "goals": [found.entry() for found in comparisons(model, self.rows)],
            "rows": [row.entry() for row in self.rows if row.model == model],
            "scenarios": [found.entry() for found in self.lines if found.model == model],
            "idle_processors": self.idle.get(model, {}),
        }
