"""Models for the benchmarks, loaded once each, and the tables at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.bare import BareProcess
from benchmarks.prompts import Prompts
from benchmarks.report import Report
from engine.errors import ModelLoadError
from engine.loading.hardware import physical_cores
from engine.loading.models import ModelFile, locate

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_STREAMS = 16
N_CELLS = 4096
N_BATCH = 512  # what the engine uses

_REPORT = pytest.StashKey[Report]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_REPORT] = Report()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = list(config.stash[_REPORT].lines())
    if lines:
        terminalreporter.section("the engine beside llama.cpp alone: medians")
    for line in lines:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def report(pytestconfig: pytest.Config) -> Report:
    return pytestconfig.stash[_REPORT]


@pytest.fixture(scope="session", params=["smollm2-135m-instruct", "gemma-3-270m"])
def model(request: pytest.FixtureRequest) -> ModelFile:
    try:
        return locate(request.param)
    except ModelLoadError as error:
        pytest.skip(f"{error} {error.hint or ''}")


@pytest.fixture(scope="session")
def bare(model: ModelFile) -> Iterator[BareProcess]:
    process = BareProcess(
        model.path, n_slots=MAX_STREAMS, n_cells=N_CELLS, n_batch=N_BATCH, n_threads=physical_cores()
    )
    yield process
    process.close()


@pytest.fixture(scope="session")
def prompts(bare: BareProcess) -> Prompts:
    return Prompts(bare.tokenize)
