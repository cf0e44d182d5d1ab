"""Fixtures of these tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from engine.core.engine import Engine
from engine.core.policy import DEFAULT_POLICY
from tests.core.fake_backend import FakeBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from engine.backend.base import Backend
    from engine.core.policy import SchedulingPolicy

    Start = Callable[..., Engine]


@pytest.fixture(params=["text first", "text while the model runs"])
def order(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the fake model take its steps by itself, or not."""
    monkeypatch.setattr(FakeBackend, "is_asynchronous", request.param != "text first")


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts an engine; all are closed in the end, with open gates."""
    started: list[tuple[Engine, FakeBackend]] = []

    def start(
        backend: FakeBackend, *, max_requests: int = 8, policy: SchedulingPolicy = DEFAULT_POLICY
    ) -> Engine:
        protocol: Backend = backend  # the type checker holds the fake to the protocol
        engine = Engine(protocol, max_logprobs=5, max_requests=max_requests, policy=policy)
        started.append((engine, backend))
        return engine

    yield start
    for engine, backend in started:
        backend.open_gate()
        engine.close()
