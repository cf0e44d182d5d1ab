"""The gRPC door: protocol buffers to the contract and back, and nothing else."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from typing_extensions import override

from engine.errors import AddressError
from engine.pb.nucleus.v1 import completions_pb2 as pb
from engine.pb.nucleus.v1 import completions_pb2_grpc as pb_grpc
from engine.serving import wire
from engine.serving.access_log import AccessLog
from engine.serving.grpc_gate import HEALTH_NAME, GrpcGate, caller
from engine.serving.grpc_health import Health
from engine.serving.grpc_limits import GrpcLimits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection
    from types import ModuleType

    from engine.errors import EngineError
    from engine.service.service import CompletionService
    from engine.serving.auth import ApiKeys
    from engine.serving.listen import Endpoint
    from engine.serving.tls import Certificate

    Context = grpc.aio.ServicerContext[Any, Any]

log = logging.getLogger("nucleus.grpc")

_NO_END = 1e6  # seconds
SERVICE_NAME = pb.DESCRIPTOR.services_by_name["CompletionService"].full_name
_ANSWERING = frozenset(
    f"/{SERVICE_NAME}/{kind}{shape}"
    for kind in ("Create", "Stream")
    for shape in ("Completion", "ChatCompletion")
)
"""The methods that ask for an answer."""


async def start_grpc(
    service: CompletionService,
    keys: ApiKeys,
    endpoint: Endpoint,
    *,
    certificate: Certificate | None = None,
    limits: GrpcLimits = GrpcLimits(),  # noqa: B008 - frozen
    access_log: AccessLog | None = None,
) -> GrpcServer:
    """Start to serve on the running event loop.

    Args:
        service: What answers; the caller closes it, after :meth:`GrpcServer.stop`.
        keys: The API keys that open every method but those of the health service.
        endpoint: Where to listen; :attr:`GrpcServer.endpoint` has the port that is taken for 0.
        certificate: For TLS; None serves in plain.
        limits: What clients may take of the server.
        access_log: Writes about each call; by default without its prompt.

    Raises:
        AddressError: the address is taken or does not exist.
    """
    vllm = vllm_service()
    names = (SERVICE_NAME,) if vllm is None else (SERVICE_NAME, vllm.SERVICE_NAME)
    gate = GrpcGate(
        keys,
        limits,
        access_log or AccessLog(),
        refuse=partial(
            refuse, service, answering=_ANSWERING if vllm is None else _ANSWERING | {vllm.GENERATE}
        ),
        absent={} if vllm is None else vllm.ABSENT,
    )
    server = grpc.aio.server(
        interceptors=[gate],
        options=[*limits.options(), ("grpc.so_reuseport", 0)],  # or a port in use would be shared in silence
        maximum_concurrent_rpcs=limits.max_calls,
    )
    health = Health(service, names, max_watches=limits.max_watches)
    pb_grpc.add_CompletionServiceServicer_to_server(Completions(service), server)
    if vllm is not None:
        vllm.add_vllm_service(service, server)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    reflection.enable_server_reflection((*names, HEALTH_NAME, reflection.SERVICE_NAME), server)
    try:
        with endpoint.creating_file():
            if certificate is None:
                port = server.add_insecure_port(str(endpoint))
            else:
                port = server.add_secure_port(str(endpoint), certificate.grpc_credentials())
    except RuntimeError:  # gRPC tells the reason to its own log only
        raise AddressError(
            f"gRPC cannot listen on {endpoint}: it is taken, or the address is not of this machine.",
            hint=f"Choose another {endpoint.flag}.",
        ) from None
    await server.start()
    return GrpcServer(server, health, endpoint if endpoint.path else endpoint.at(endpoint.host, port))


class GrpcServer:
    """A running gRPC door.

    Attributes:
        endpoint: Where it listens.
    """

    def __init__(self, server: grpc.aio.Server, health: Health, endpoint: Endpoint) -> None:
        self._server = server
        self._health = health
        self._leaving: asyncio.Task[None] | None = None
        self.endpoint = endpoint

    @property
    def port(self) -> int:
        """The port that it listens on; 0 for a Unix socket."""
        return self.endpoint.port

    def leave(self) -> None:
        """Send clients elsewhere from now on, and let what runs go on until :meth:`stop`.

        For its next call a channel then opens a new connection, which a proxy can carry to another server.
        Without this it would stay, and its calls be refused, until the last answer here has been sent.
        """
        self._health.drain()
        if self._leaving is None:
            self._leaving = asyncio.create_task(self._server.stop(_NO_END))

    async def stop(self, grace: float | None = None) -> None:
        """Refuse new calls, wait up to ``grace`` seconds for those that run, and cancel the rest."""
        self._health.drain()
        await self._server.stop(grace)


class Completions(pb_grpc.CompletionServiceServicer):
    """The methods, over a service; what comes out of one is turned into a status by the gate."""

    def __init__(self, service: CompletionService) -> None:
        self._service = service

    @override
    async def CreateCompletion(
        self, request: pb.CreateCompletionRequest, context: Context
    ) -> pb.CreateCompletionResponse:
        parsed = self._service.parse(wire.fields_of(request.request))
        completion = await self._service.complete(parsed, caller(context))
        return pb.CreateCompletionResponse(
            completion=wire.completion_message(completion, self._service.token_texts)
        )

    @override
    async def StreamCompletion(
        self, request: pb.StreamCompletionRequest, context: Context
    ) -> AsyncIterator[pb.StreamCompletionResponse]:
        parsed = self._service.parse({**wire.fields_of(request.request), "stream": True})
        async with aclosing(await self._service.stream(parsed, caller(context))) as stream:
            async for chunk in stream:
                yield pb.StreamCompletionResponse(chunk=wire.chunk_message(chunk, self._service.token_texts))

    @override
    async def CreateChatCompletion(
        self, request: pb.CreateChatCompletionRequest, context: Context
    ) -> pb.CreateChatCompletionResponse:
        parsed = self._service.parse_chat(wire.fields_of(request.request))
        completion = await self._service.complete(parsed, caller(context))
        return pb.CreateChatCompletionResponse(
            completion=wire.chat_completion_message(completion, self._service.token_texts)
        )

    @override
    async def StreamChatCompletion(
        self, request: pb.StreamChatCompletionRequest, context: Context
    ) -> AsyncIterator[pb.StreamChatCompletionResponse]:
        parsed = self._service.parse_chat({**wire.fields_of(request.request), "stream": True})
        async with aclosing(await self._service.stream(parsed, caller(context))) as stream:
            async for chunk in stream:
                message = wire.chat_chunk_message(chunk, self._service.token_texts)
                yield pb.StreamChatCompletionResponse(chunk=message)

    @override
    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        return pb.ListModelsResponse(models=wire.model_messages(self._service.models()))

    @override
    async def Tokenize(self, request: pb.TokenizeRequest, context: Context) -> pb.TokenizeResponse:
        answer = await self._service.tokenize(wire.fields_of(request))
        return pb.TokenizeResponse(**answer.model_dump())

    @override
    async def Detokenize(self, request: pb.DetokenizeRequest, context: Context) -> pb.DetokenizeResponse:
        answer = self._service.detokenize({"tokens": [], **wire.fields_of(request)})
        return pb.DetokenizeResponse(**answer.model_dump())

    @override
    async def GetTokenizerInfo(
        self, request: pb.GetTokenizerInfoRequest, context: Context
    ) -> pb.GetTokenizerInfoResponse:
        return pb.GetTokenizerInfoResponse(**self._service.tokenizer_info().model_dump())


def vllm_service() -> ModuleType | None:
    """Return the module of the service for gateways; None: its package is not installed, or of no use."""
    if find_spec("smg_grpc_proto") is None:
        return None
    try:
        from engine.serving import vllm_service as module
    except Exception as error:  # protobuf and gRPC each have their own for code that was made for others
        log.warning("this server is no worker for SMG: smg-grpc-proto cannot be used: %s", error)
        return None
    return module


def refuse(
    service: CompletionService,
    method: str,
    error: EngineError,
    *,
    answering: Collection[str] = _ANSWERING,
) -> None:
    """Count a call for an answer that the gate has refused."""
    if method in answering:
        service.requests.refuse("grpc", error)
