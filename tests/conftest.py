"""One running engine on the real default model, and the three doors in front of it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from engine.loading.launch import launch
from engine.loading.options import EngineOptions
from tests.doors import DOORS, Door
from tests.trace import Trace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from engine.service.service import CompletionService

MODEL = "smollm2-135m-instruct"


@pytest.fixture(scope="session")
def service() -> Iterator[CompletionService]:
    """Four slots, so that more choices than slots are easy to ask for."""
    launched = launch(EngineOptions(model=MODEL, parallel=4))
    with closing(launched.service) as running:
        yield running


@pytest.fixture(scope="session", params=DOORS, ids=lambda door: door.name)
async def door(request: pytest.FixtureRequest, service: CompletionService) -> AsyncIterator[Door]:
    """The same service through Python, gRPC and HTTP in turn."""
    async with request.param(service) as opened:
        yield opened


@pytest.fixture
def trace(monkeypatch: pytest.MonkeyPatch) -> Trace:
    """What the engine thread does from now on."""
    return Trace(monkeypatch)
