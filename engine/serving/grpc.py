"""The gRPC door: protocol buffers to the contract and back, and nothing else."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status
from typing_extensions import override

from engine.errors import AddressError, DeadlineExceededError, EngineError, InternalError, InvalidRequestError
from engine.pb.nucleus.v1 import completions_pb2 as pb
from engine.pb.nucleus.v1 import completions_pb2_grpc as pb_grpc
from engine.serving import wire
from engine.serving.auth import caller_of
from engine.serving.exchange import request_id
from engine.serving.grpc_health import Health
from engine.serving.grpc_limits import GrpcLimits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable

    from engine.service.service import CompletionService
    from engine.serving.auth import ApiKeys
    from engine.serving.listen import Endpoint
    from engine.serving.tls import Certificate

    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]
    Metadata = Iterable[tuple[str, str | bytes]]

log = logging.getLogger("nucleus.grpc")

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["CompletionService"].full_name
_HEALTH_NAME = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


async def start_grpc(
    service: CompletionService,
    keys: ApiKeys,
    endpoint: Endpoint,
    *,
    certificate: Certificate | None = None,
    limits: GrpcLimits = GrpcLimits(),  # noqa: B008 - frozen
) -> GrpcServer:
    """Start to serve on the running event loop.

    Args:
        service: What answers; the caller closes it, after :meth:`GrpcServer.stop`.
        keys: The API keys that open every method but those of the health service.
        endpoint: Where to listen; :attr:`GrpcServer.endpoint` has the port that is taken for 0.
        certificate: For TLS; None serves in plain.
        limits: What clients may take of the server.

    Raises:
        AddressError: the address is taken or does not exist.
    """
    server = grpc.aio.server(
        interceptors=[_Gate(keys, limits)],
        options=[*limits.options(), ("grpc.so_reuseport", 0)],  # or a port in use would be shared in silence
        maximum_concurrent_rpcs=limits.max_calls,
    )
    health = Health(service, SERVICE_NAME, max_watches=limits.max_watches)
    pb_grpc.add_CompletionServiceServicer_to_server(_Completions(service), server)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    reflection.enable_server_reflection((SERVICE_NAME, _HEALTH_NAME, reflection.SERVICE_NAME), server)
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
        self.endpoint = endpoint

    @property
    def port(self) -> int:
        """The port that it listens on; 0 for a Unix socket."""
        return self.endpoint.port

    async def stop(self, grace: float | None = None) -> None:
        """Refuse new calls, wait up to ``grace`` seconds for those that run, and cancel the rest."""
        self._health.drain()
        await self._server.stop(grace)


class _Completions(pb_grpc.CompletionServiceServicer):
    def __init__(self, service: CompletionService) -> None:
        self._service = service

    @override
    async def CreateCompletion(
        self, request: pb.CreateCompletionRequest, context: Context
    ) -> pb.CreateCompletionResponse:
        parsed = self._service.parse(wire.fields_of(request.request))
        completion = await self._service.complete(parsed, _caller(context))
        return pb.CreateCompletionResponse(
            completion=wire.completion_message(completion, self._service.token_texts)
        )

    @override
    async def StreamCompletion(
        self, request: pb.StreamCompletionRequest, context: Context
    ) -> AsyncIterator[pb.StreamCompletionResponse]:
        parsed = self._service.parse({**wire.fields_of(request.request), "stream": True})
        async with aclosing(await self._service.stream(parsed, _caller(context))) as stream:
            async for chunk in stream:
                yield pb.StreamCompletionResponse(chunk=wire.chunk_message(chunk, self._service.token_texts))

    @override
    async def CreateChatCompletion(
        self, request: pb.CreateChatCompletionRequest, context: Context
    ) -> pb.CreateChatCompletionResponse:
        parsed = self._service.parse_chat(wire.fields_of(request.request))
        completion = await self._service.complete(parsed, _caller(context))
        return pb.CreateChatCompletionResponse(
            completion=wire.chat_completion_message(completion, self._service.token_texts)
        )

    @override
    async def StreamChatCompletion(
        self, request: pb.StreamChatCompletionRequest, context: Context
    ) -> AsyncIterator[pb.StreamChatCompletionResponse]:
        parsed = self._service.parse_chat({**wire.fields_of(request.request), "stream": True})
        async with aclosing(await self._service.stream(parsed, _caller(context))) as stream:
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


class _Gate(grpc.aio.ServerInterceptor):
    """Handles every call first: checks its key, sends its id, and turns any exception into a status.

    It guards every method that is not open by name, so that a service added later is guarded too.
    """

    def __init__(self, keys: ApiKeys, limits: GrpcLimits) -> None:
        self._keys = keys
        self._limits = limits

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        # gRPC finds the method by this string, so a name with this prefix reaches only the health service.
        if not handler_call_details.method.startswith(f"/{_HEALTH_NAME}/"):
            try:
                self._keys.check(_value(handler_call_details.invocation_metadata, "authorization"))
            except EngineError as error:
                return _refusal(error)
        handler = await continuation(handler_call_details)
        return None if handler is None else _guarded(handler, self._limits.stall_seconds)


def _refusal(error: EngineError) -> Handler:
    """Answer any method with an error; as a stream, so that the request is not even read."""

    async def refuse(_request: object, context: Context) -> None:
        await _send_request_id(context)
        await context.abort_with_status(rpc_status.to_status(wire.status_of(error)))

    return grpc.stream_stream_rpc_method_handler(refuse)


def _guarded(handler: Handler, stall_seconds: float) -> Handler:
    """Wrap a method of whatever kind, so that it fails as the contract says and waits for no reader for ever.

    One that answers once is driven like a stream of one message: on the wire they are alike, and gRPC gives
    no other way to end the writing of an answer that nobody reads.
    """
    if handler.unary_unary is not None:
        method: Any = _answering(handler.unary_unary)
    elif handler.unary_stream is not None:
        method = handler.unary_stream
    elif handler.stream_stream is not None:
        behaviour = _driving(handler.stream_stream, None, handler.response_serializer, stall_seconds)
        return grpc.stream_stream_rpc_method_handler(behaviour, handler.request_deserializer, None)
    else:
        raise TypeError("a method that reads a stream and answers once is not foreseen")
    behaviour = _driving(method, handler.request_deserializer, handler.response_serializer, stall_seconds)
    return grpc.unary_stream_rpc_method_handler(behaviour, None, None)


def _answering(behaviour: Any) -> Callable[[Any, Context], AsyncIterator[Any]]:
    async def answer(request: Any, context: Context) -> AsyncIterator[Any]:
        yield await behaviour(request, context)

    return answer


def _driving(
    behaviour: Any, deserialize: Any, serialize: Any, stall_seconds: float
) -> Callable[[Any, Context], Awaitable[None]]:
    """Drive the method's generator here: gRPC leaves it open when the client goes away during a write."""

    async def drive(request: Any, context: Context) -> None:
        await _send_request_id(context)
        async with _failing_clearly(context):
            responses = behaviour(_read(request, deserialize), context)
        async with aclosing(responses):
            while True:
                async with _failing_clearly(context):
                    response = await anext(responses, None)
                    message = None if response is None else serialize(response)
                if message is None:
                    return
                if not await _write(context, message, stall_seconds):
                    break
        async with _failing_clearly(context):  # nothing runs any more; the status comes behind what is unread
            limit = f"The client should read some of an answer within {stall_seconds:g} s."
            raise DeadlineExceededError(limit)

    return drive


async def _write(context: Context, message: bytes, seconds: float) -> bool:
    """Write a message; return False if the client does not make room for it in time."""
    try:
        async with asyncio.timeout(seconds):
            await context.write(message)
    except TimeoutError:
        return False
    return True


def _read(request: Any, deserialize: Any) -> Any:
    """Read a message here: gRPC answers one that is malformed with UNKNOWN, and a traceback in the log."""
    if deserialize is None:
        return request
    try:
        return deserialize(request)
    except DecodeError as error:
        raise InvalidRequestError(f"The request is not a message of this method: {error}.") from None


@asynccontextmanager
async def _failing_clearly(context: Context) -> AsyncIterator[None]:
    try:
        yield
    except grpc.aio.AbortError:
        raise
    except EngineError as error:
        failure = error
    except Exception as error:
        log.exception("a call failed")
        failure = InternalError.of(error)
    else:
        return
    await context.abort_with_status(rpc_status.to_status(wire.status_of(failure)))


async def _send_request_id(context: Context) -> None:
    given = _value(context.invocation_metadata() or (), "x-request-id")
    await context.send_initial_metadata((("x-request-id", request_id(given)),))


def _caller(context: Context) -> Hashable:
    host = context.peer().rpartition(":")[0]  # without the port
    return caller_of(host, _value(context.invocation_metadata() or (), "authorization"))


def _value(metadata: Metadata, name: str) -> str | None:
    return next((value for key, value in metadata if key == name and isinstance(value, str)), None)
