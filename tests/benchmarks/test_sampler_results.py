"""What is written at the end, tried without timing anything."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.sampler.comparisons import CALL, CONTRACT
from benchmarks.sampler.results import Results, Stretch

if TYPE_CHECKING:
    from pathlib import Path


def test_results_are_written(tmp_path: Path) -> None:
    results = Results()
    results.add(CALL, 2, Stretch([np.full((3, 1), 3.0)], elsewhere=None))
    ours, other = np.array([[40.0], [50.0], [60.0]]), np.array([[1400.0] * 16, [1500.0] * 16, [1600.0] * 16])
    results.add(CONTRACT, 49_152, Stretch([ours, other], elsewhere=0.01))
    results.add_point("engine", 1024, ours)
    heading, *lines = results.table()
    assert heading.split()[-4:] == ["engine", "figure", "goal", "elsewhere"]
    assert lines[0].split()[-7:] == ["49152", "1500.0", "50.0", "30x", "≥", "25x", "0.01"]
    assert lines[1].endswith("missed")
    results.write(tmp_path)
    written = json.loads((tmp_path / "sampler.json").read_text())
    assert [(line["figure"], line["reached"]) for line in written["lines"]] == [(30.0, True), (3.0, False)]
    assert written["curve"]["engine"] == {"1024": 50.0}
    assert "<svg" in (tmp_path / "sampler.svg").read_text()
