"""Keys, ids, reflection and health of the gRPC door."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest
from google.rpc.error_details_pb2 import (  # type: ignore[import-untyped]
    ErrorInfo,
)
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from engine.errors import AddressError
from engine.pb.nucleus.v1 import completions_pb2 as pb
from engine.pb.nucleus.v1 import completions_pb2_grpc as pb_grpc
from engine.serving.auth import ApiKeys
from engine.serving.grpc import GrpcServer, start_grpc
from engine.serving.listen import Endpoint
from tests.grpc.calls import CODE, FRANCE, HOST, KEY, PATIENCE, details, error_of, raw_call, stub_of

if TYPE_CHECKING:
    from engine.service.service import CompletionService

    Stub = pb_grpc.CompletionServiceAsyncStub


async def reflected(channel: grpc.aio.Channel) -> list[str]:
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(cast("Any", channel))
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    answer = await reflection.ServerReflectionInfo(iter([asked]), metadata=KEY).read()
    return [found.name for found in answer.list_services_response.service]


def methods_of(name: str) -> list[str]:
    from google.protobuf.descriptor_pool import Default

    service = Default().FindServiceByName(name)
    return [f"/{name}/{method.name}" for method in service.methods]


HEADERS: dict[str, tuple[tuple[str, str], ...]] = {
    "none": (),
    "wrong": (("authorization", "Bearer sk-wrong"),),
    "bare": (("authorization", "sk-test"),),
    "empty": (("authorization", "Bearer "),),
    "elsewhere": (("x-api-key", "sk-test"),),
}


@pytest.mark.parametrize("header", HEADERS)
async def test_every_method_but_health_wants_the_key(locked: grpc.aio.Channel, header: str) -> None:
    services = await reflected(locked)
    methods = [method for service in services for method in methods_of(service)]
    assert len(methods) >= 7
    guarded = [method for method in methods if not method.startswith("/grpc.health.v1.Health/")]
    assert len(guarded) >= 4
    for method in [*guarded, "/nucleus.v1.CompletionService/Nothing", "//grpc.health.v1.Health/Check"]:
        error = await error_of(raw_call(locked, method, metadata=HEADERS[header]))
        assert error.code() is CODE.UNAUTHENTICATED, method
        assert details(error, ErrorInfo).reason == "INVALID_API_KEY"


async def test_the_key_opens(locked: grpc.aio.Channel, model: str) -> None:
    stub = stub_of(locked)
    assert (await stub.ListModels(pb.ListModelsRequest(), metadata=KEY)).models
    request = pb.CompletionRequest(model=model, prompt=FRANCE, max_tokens=1)
    assert await stub.CreateCompletion(pb.CreateCompletionRequest(request=request), metadata=KEY)
    chunks = stub.StreamCompletion(pb.StreamCompletionRequest(request=request), metadata=KEY)
    assert [chunk async for chunk in chunks]


async def test_an_unknown_method_behind_the_key(locked: grpc.aio.Channel) -> None:
    error = await error_of(raw_call(locked, "/nucleus.v1.CompletionService/Nothing", metadata=KEY))
    assert error.code() is CODE.UNIMPLEMENTED


async def test_the_request_id_comes_back(channel: grpc.aio.Channel, locked: grpc.aio.Channel) -> None:
    async def request_id(channel: grpc.aio.Channel, *given: tuple[str, str]) -> Any:
        call = stub_of(channel).ListModels(pb.ListModelsRequest(), metadata=given)
        await call.code()
        return dict(cast("Any", await call.initial_metadata())).get("x-request-id")

    assert await request_id(channel, ("x-request-id", "mine-1")) == "mine-1"
    assert await request_id(locked, ("x-request-id", "mine-2")) == "mine-2"  # refused calls too
    made = [await request_id(channel) for _ in range(2)]
    assert all(made)
    assert made[0] != made[1]


async def test_reflection_tells_the_services(locked: grpc.aio.Channel) -> None:
    services = await reflected(locked)
    assert set(services) == {
        "nucleus.v1.CompletionService",
        "vllm.grpc.engine.VllmEngine",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


async def test_health_is_open_and_serving(locked: grpc.aio.Channel) -> None:
    health: Any = health_pb2_grpc.HealthStub(locked)
    for name in ("", "nucleus.v1.CompletionService", "vllm.grpc.engine.VllmEngine"):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    error = await error_of(health.Check(health_pb2.HealthCheckRequest(service="nucleus.v1.Other")))
    assert error.code() is CODE.NOT_FOUND


async def test_health_turns_red_with_the_engine_and_ends_its_watches_at_the_stop() -> None:
    service = SimpleNamespace(is_ready=True)
    server: GrpcServer = await start_grpc(cast("Any", service), ApiKeys(), Endpoint(HOST))
    async with grpc.aio.insecure_channel(f"{HOST}:{server.port}") as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        service.is_ready = False
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        answer = await health.Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
        service.is_ready = True
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        stopping = asyncio.create_task(server.stop(PATIENCE))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert await watch.read() is grpc.aio.EOF
        await stopping


async def test_a_port_in_use_is_an_error(service: CompletionService) -> None:
    first = await start_grpc(service, ApiKeys(), Endpoint(HOST))
    try:
        with pytest.raises(AddressError, match=f"{HOST}:{first.port}"):
            await start_grpc(service, ApiKeys(), first.endpoint)
    finally:
        await first.stop()
