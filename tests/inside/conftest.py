"""A door to a server whose backend a test can break."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.doors import DOORS, Door
from tests.quick import AnyText, engine_of, service_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
def backend() -> AnyText:
    return AnyText()


@pytest.fixture(params=DOORS, ids=lambda door: door.name)
async def quick(request: pytest.FixtureRequest, backend: AnyText) -> AsyncIterator[Door]:
    """One door to a server of its own."""
    engine = engine_of(backend)
    async with request.param(service_of(engine)) as door:
        yield door
        backend.open_gate()
        await asyncio.to_thread(engine.close)
