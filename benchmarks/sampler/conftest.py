"""The rows that the sampler is measured on, and the table, the plot and the JSON file at the end."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.llama import Context
from benchmarks.prompts import PASSAGES
from benchmarks.sampler.results import Results
from benchmarks.sampler.sides import N_ROWS, Rows
from engine.hardware import physical_cores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

    from engine.models.names import ModelFile

_FOLDER = Path(__file__).parents[1] / "results"
_MAX_TOKENS, _N_HISTORY = 100, 200
_RESULTS = Results()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
    if not _RESULTS.lines:
        return
    terminalreporter.section("the sampler beside others: medians")
    for line in _RESULTS.table():
        terminalreporter.write_line(line)
    # A part of the benchmarks, or a failed run, leaves what the last whole one wrote.
    is_whole = _RESULTS.curve and not terminalreporter.stats.get("deselected")
    if is_whole and exitstatus == pytest.ExitCode.OK:
        _RESULTS.write(_FOLDER)
        terminalreporter.write_line("written: sampler.json and sampler.svg in benchmarks/results")


@pytest.fixture
def results(benchmark: BenchmarkFixture) -> Results:
    """Return where to put what was found: out of sight when nothing is timed."""
    return _RESULTS if benchmark.enabled else Results()


@pytest.fixture(scope="session")
def rows(model: ModelFile) -> Iterator[Rows]:
    """Decode the beginnings of all passages in one batch; the history is tokens from all of them."""
    n_tokens = N_ROWS * _MAX_TOKENS
    with closing(Context(model.path, N_ROWS, n_tokens, n_tokens, physical_cores())) as context:
        texts = [context.tokenize(text)[:_MAX_TOKENS] for text in PASSAGES]
        context.fill(
            (slot, position, token, position == len(text) - 1)
            for slot, text in enumerate(texts)
            for position, token in enumerate(text)
        )
        logits = context.decode(N_ROWS)
        seen = np.unique(np.concatenate(texts)).astype(np.int32)
        history = seen[:: len(seen) // _N_HISTORY][:_N_HISTORY].copy()
        outputs = np.cumsum([len(text) for text in texts]) - 1
        yield Rows(logits, history, context.handle, outputs.tolist())
