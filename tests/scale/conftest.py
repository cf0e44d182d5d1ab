"""Two servers with the packaged model, and gateways in front of them."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

import pytest

from benchmarks.gateways import smg
from tests.scale.workers import Worker, start_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from benchmarks.gateways import Gateway

    Opening = Callable[..., AbstractContextManager[Gateway]]


@pytest.fixture(scope="package")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Worker]]:
    """Two workers, of which a test may end one, or put another in its place."""
    folder = tmp_path_factory.mktemp("workers")
    workers = [Worker(log=folder / f"{number}.log") for number in range(2)]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.close()


@pytest.fixture
def pair(two: list[Worker]) -> list[Worker]:
    """The two, running."""
    start_all(two)
    return two


@pytest.fixture
def open_gateway(tmp_path: Path) -> Opening:
    """Return a function that starts SMG in front of workers with more of its options."""

    numbers = count()

    @contextmanager
    def opened(workers: list[Worker], *options: object, key: str | None = None) -> Iterator[Gateway]:
        log = tmp_path / f"smg-{next(numbers)}.log"
        with smg([worker.url for worker in workers], log, *options, key=key) as gateway:
            yield gateway

    return opened
