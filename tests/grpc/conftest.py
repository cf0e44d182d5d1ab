"""Fixtures of these tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from engine.serving.auth import ApiKeys
from tests.grpc.calls import serving, stub_of
from tests.grpc.watched import Watched

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc

    from engine.pb.nucleus.v1 import completions_pb2_grpc as pb_grpc
    from engine.service.service import CompletionService

    Stub = pb_grpc.CompletionServiceAsyncStub


@pytest.fixture(scope="module")
async def channel(service: CompletionService) -> AsyncIterator[grpc.aio.Channel]:
    async with serving(service, ApiKeys()) as channel:
        yield channel


@pytest.fixture(scope="module")
async def locked(service: CompletionService) -> AsyncIterator[grpc.aio.Channel]:
    async with serving(service, ApiKeys(["sk-test"])) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel: grpc.aio.Channel) -> Stub:
    return stub_of(channel)


@pytest.fixture(scope="module")
def model(service: CompletionService) -> str:
    return service.name


@pytest.fixture
async def watched(service: CompletionService, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    watched = Watched(service, monkeypatch)
    await watched.drained()
    yield watched
    watched.go()
