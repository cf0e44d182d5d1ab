"""The rows that the sampler is measured on, and the table, the plot and the JSON file at the end."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.sampler.material import Material, Rows
from benchmarks.sampler.results import Results

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

    from engine.loading.models import ModelFile

_FOLDER = Path(__file__).parents[1] / "results"
_RESULTS = pytest.StashKey[Results]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_RESULTS] = Results()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    results = config.stash[_RESULTS]
    if not results.lines:
        return
    terminalreporter.section("the sampler beside others: medians")
    for line in results.table():
        terminalreporter.write_line(line)
    # A part of the benchmarks, or a failed run, leaves what the last whole one wrote.
    is_whole = results.is_whole and not terminalreporter.stats.get("deselected")
    if is_whole and exitstatus == pytest.ExitCode.OK:
        results.write(_FOLDER)
        terminalreporter.write_line("written: sampler.json and sampler.svg in benchmarks/results")


@pytest.fixture
def results(pytestconfig: pytest.Config, benchmark: BenchmarkFixture) -> Results:
    """Return where to put what was found: out of sight when nothing is timed."""
    return pytestconfig.stash[_RESULTS] if benchmark.enabled else Results()


@pytest.fixture(scope="session")
def rows(model: ModelFile) -> Iterator[Rows]:
    with closing(Rows(model.path)) as rows:
        yield rows


@pytest.fixture(scope="session")
def material(rows: Rows) -> Material:
    return Material.of(rows)
