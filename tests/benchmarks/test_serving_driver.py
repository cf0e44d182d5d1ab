"""Client programs as child processes, without a server."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks.serving.driver import Driver
from benchmarks.serving.job import Job, Work
from benchmarks.serving.process import ServerError, free_port

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.serving.job import Door


@pytest.mark.parametrize("door", ["http", "grpc"])
def test_a_server_that_is_gone_is_an_outcome_with_errors(door: Door, tmp_path: Path) -> None:
    driver = Driver([sys.executable, "-m", "benchmarks.serving.client"], tmp_path / "log")
    job = Job(Work(0.01, clients=2), door, "model", free_port(), driver.start())
    try:
        outcomes = [driver.perform(job), driver.perform(job)]  # one program does both
    finally:
        driver.close()
    assert all(outcome.summary.errors == 2 for outcome in outcomes)
    assert all(outcome.summary.tokens_per_s == 0.0 for outcome in outcomes)
    assert driver.pid is None


def test_a_client_program_that_ends_is_told_with_its_last_words(tmp_path: Path) -> None:
    driver = Driver([sys.executable, "-c", "input(); raise SystemExit('no such door')"], tmp_path / "log")
    with pytest.raises(ServerError, match="no such door"):
        driver.perform(Job(Work(1.0, clients=1), "http", "model"))
    assert driver.pid is None
