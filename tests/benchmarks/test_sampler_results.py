"""What is written at the end, tried without timing anything."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from benchmarks.sampler.goals import CALL, CONTRACT, Line
from benchmarks.sampler.results import Results
from engine.sampling import KERNELS

if TYPE_CHECKING:
    from pathlib import Path


def test_results_are_written(tmp_path: Path) -> None:
    results = Results()
    results.lines += [
        Line(CALL, 2, KERNELS[0], 3.0),
        Line(CONTRACT, 49_152, KERNELS[0], 50.0, 1500.0, 30.0, 0.01),
    ]
    results.curve["engine"] = {1024: 1.5, 4096: 4.0}
    _heading, contract, call = results.table()
    assert contract.split()[-4:] == ["30.0x", "≥", "25.0x", "0.01"]
    assert call.endswith("missed")
    results.write(tmp_path)
    written = json.loads((tmp_path / "sampler.json").read_text())
    assert [line["reached"] for line in written["lines"]] == [True, False]
    assert "<svg" in (tmp_path / "sampler.svg").read_text()
