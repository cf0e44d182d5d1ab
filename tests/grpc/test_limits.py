"""What a client of the gRPC door may not take: calls without end, connections that never begin."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo  # type: ignore[import-untyped]
from grpc_health.v1 import health_pb2, health_pb2_grpc

from engine.pb.nucleus.v1 import completions_pb2 as pb
from engine.serving import wire
from engine.serving.auth import ApiKeys
from engine.serving.grpc import SERVICE_NAME, start_grpc
from engine.serving.grpc_limits import GrpcLimits
from engine.serving.listen import Endpoint
from tests.grpc.calls import (
    CODE,
    HOST,
    METHODS,
    create,
    details,
    error_of,
    raw_call,
    request_of,
    serving,
    stub_of,
    text,
)
from tests.quick import AnyText, engine_of, service_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from engine.service.service import CompletionService

ASK = pb.CompletionRequest(model="fake", prompt=text("ABC"), max_tokens=3, seed=1)
SERVED = health_pb2.HealthCheckResponse.SERVING


@pytest.fixture
def backend() -> AnyText:
    return AnyText()


@asynccontextmanager
async def served(backend: AnyText, *, max_seconds: float | None = None) -> AsyncIterator[CompletionService]:
    service = service_of(engine_of(backend), max_seconds=max_seconds)
    yield service
    backend.open_gate()
    await asyncio.to_thread(service.close)


@pytest.fixture
async def quick(backend: AnyText) -> AsyncIterator[CompletionService]:
    async with served(backend) as service:
        yield service


def health_of(channel: grpc.aio.Channel) -> Any:
    return health_pb2_grpc.HealthStub(cast("Any", channel))


async def rest_of(call: Any) -> None:
    while (await call.read()) is not grpc.aio.EOF:
        pass


async def at_rest(service: CompletionService) -> None:
    while service.engine.n_requests:  # noqa: ASYNC110 - the engine gives no sign but this one
        await asyncio.sleep(0)


async def test_a_call_too_many_is_refused_and_the_others_go_on(
    quick: CompletionService, backend: AnyText
) -> None:
    backend.hold()
    async with serving(quick, ApiKeys(), limits=GrpcLimits(max_calls=2)) as channel:
        running = [asyncio.ensure_future(create(stub_of(channel), ASK)) for _ in range(2)]
        while quick.engine.n_requests < 2:  # noqa: ASYNC110 - the engine gives no sign but this one
            await asyncio.sleep(0)
        assert (await error_of(create(stub_of(channel), ASK))).code() is CODE.RESOURCE_EXHAUSTED
        backend.open_gate()
        for answer in await asyncio.gather(*running):
            assert answer.usage.completion_tokens == 3
        assert (await create(stub_of(channel), ASK)).usage.completion_tokens == 3


async def test_watches_of_the_health_take_no_place_of_requests(quick: CompletionService) -> None:
    limits = GrpcLimits(max_calls=4, max_watches=2)
    async with serving(quick, ApiKeys(["sk-test"]), limits=limits) as channel:
        watches = [health_of(channel).Watch(health_pb2.HealthCheckRequest()) for _ in range(2)]
        for watch in watches:
            assert (await watch.read()).status == SERVED
        error = await error_of(health_of(channel).Watch(health_pb2.HealthCheckRequest()))
        assert (error.code(), error.details()) == (
            CODE.RESOURCE_EXHAUSTED,
            "2 watches are open, the limit.",
        )
        assert (await health_of(channel).Check(health_pb2.HealthCheckRequest())).status == SERVED
        watches[0].cancel()
        again = health_of(channel).Watch(health_pb2.HealthCheckRequest())
        while (await again.read()) is grpc.aio.EOF:  # until the server has noticed
            again = health_of(channel).Watch(health_pb2.HealthCheckRequest())


async def test_metadata_beyond_the_limit(quick: CompletionService) -> None:
    async with serving(quick, ApiKeys()) as channel:
        stub = stub_of(channel)
        request = pb.CreateCompletionRequest(request=ASK)
        few = (("x-note", "a" * 10_000),)
        assert (await stub.CreateCompletion(request, metadata=few)).completion.id
        many = (("x-note", "a" * 20_000),)
        error = await error_of(stub.CreateCompletion(request, metadata=many))
        assert error.code() is CODE.RESOURCE_EXHAUSTED
        assert (await create(stub, ASK)).id


@pytest.mark.parametrize("sent", [b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\n"])
async def test_a_connection_that_never_begins_is_closed(quick: CompletionService, sent: bytes) -> None:
    limits = GrpcLimits(handshake_seconds=0.2)
    server = await start_grpc(quick, ApiKeys(), Endpoint(HOST), limits=limits)
    reader, writer = await asyncio.open_connection(HOST, server.port)
    writer.write(sent)
    while await reader.read(1 << 16):  # to the end
        pass
    writer.close()
    await server.stop()


@pytest.mark.parametrize("method", ["CreateCompletion", "StreamCompletion"])
async def test_an_answer_that_nobody_reads_ends_the_call(
    quick: CompletionService, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """It is larger than what gRPC keeps for a client; its status comes behind what was kept."""
    large = "a" * (3 << 20)
    is_given_up = asyncio.Event()
    status_of = wire.status_of

    def watched(error: Any) -> Any:
        is_given_up.set()
        return status_of(error)

    with monkeypatch.context() as patch:
        patch.setattr(wire, "status_of", watched)
        patch.setattr(wire, "completion_message", lambda *_: pb.Completion(id=large * 3))
        patch.setattr(wire, "chunk_message", lambda *_: pb.CompletionChunk(id=large))
        async with serving(quick, ApiKeys(), limits=GrpcLimits(max_calls=2, stall_seconds=0.2)) as channel:
            kind = getattr(pb, f"{method}Request")
            call = raw_call(channel, f"/{SERVICE_NAME}/{method}", kind(request=ASK).SerializeToString())
            await is_given_up.wait()
            await at_rest(quick)
            assert (await health_of(channel).Check(health_pb2.HealthCheckRequest())).status == SERVED
            error = await error_of(rest_of(call))
    if method == "StreamCompletion":  # the other one is too large for this client
        assert error.code() is CODE.DEADLINE_EXCEEDED
        assert details(error, ErrorInfo).reason == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("method", METHODS)
async def test_the_servers_time_for_a_request_is_told_in_the_details(backend: AnyText, method: str) -> None:
    backend.hold()
    async with served(backend, max_seconds=0.05) as strict, serving(strict, ApiKeys()) as channel:
        error = await error_of(getattr(stub_of(channel), method)(request_of(method, ASK)))
        assert error.code() is CODE.DEADLINE_EXCEEDED
        assert "0.05 s" in (error.details() or "")
        assert details(error, ErrorInfo).reason == "DEADLINE_EXCEEDED"
        backend.open_gate()
        await at_rest(strict)
