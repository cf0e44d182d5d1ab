"""All that one run found: rows and lines for the tables, a JSON file and a plot."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.sampler.machine import description
from benchmarks.serving.curve import plot
from benchmarks.serving.goal import CLIENTS, GOALS
from benchmarks.serving.server import OURS

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

    def comparisons(self) -> Iterator[str]:
        """Say how many times the peers' tokens per second ours are, and how many they should be."""
        for model in dict.fromkeys(row.model for row in self.rows):
            for peer, least in GOALS.get(model, {}).items():
                ratio = self.ratio(model, peer)
                if ratio is not None:
                    missed = "" if ratio >= least else "  missed"
                    title = f"{model}, {CLIENTS} clients, against {peer}"
                    yield f"{title:60}{ratio:8.2f}x{f'≥ {least:.2f}x':>11}{missed}"

    def ratio(self, model: str, peer: str) -> float | None:
        """Return our tokens per second over HTTP divided by the peer's, if both were measured."""
        found = {
            row.server: row.tokens_per_s
            for row in self.rows
            if row.model == model and row.job.door == "http" and row.job.clients == CLIENTS
            if row.job.logprobs is None
        }
        return found[OURS] / found[peer] if OURS in found and found.get(peer) else None

    def write(self, folder: Path, peers: dict[str, str]) -> None:
        """Write ``serving.json`` and ``serving.svg``; ``peers`` are the versions of the other servers."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "machine": description(),
            "peers": peers,
            "absent": self.absent,
            "environment": {name: os.environ[name] for name in _SPINNING if name in os.environ},
            "unit": "tokens per second; times in milliseconds; processor time in seconds",
            "models": {model: self._model(model, peers) for model in self._models()},
        }
        text = json.dumps(content, indent=2, ensure_ascii=False)
        (folder / "serving.json").write_text(text + "\n", encoding="utf-8")
        plot(self.rows, folder / "serving.svg")

    def _models(self) -> list[str]:
        return list(dict.fromkeys([row.model for row in self.rows] + [line.model for line in self.lines]))

    def _model(self, model: str, peers: dict[str, str]) -> dict[str, object]:
        ratios = {peer: self.ratio(model, peer) for peer in peers}
        return {
            "rows": [row.entry() for row in self.rows if row.model == model],
            "ratios": {peer: round(ratio, 3) for peer, ratio in ratios.items() if ratio is not None},
            "goals": GOALS.get(model, {}),
            "scenarios": [line.entry() for line in self.lines if line.model == model],
        }
