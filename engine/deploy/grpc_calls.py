"""Calls of our gRPC services that no gRPC server brings: through the same gate, to the same methods."""

from __future__ import annotations

import asyncio
import copyreg
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2

from engine.pb.nucleus.v1 import completions_pb2 as pb
from engine.pb.nucleus.v1 import completions_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator

    from google.protobuf.message import Message

    from engine.serving.grpc_gate import GrpcGate

    Handler = grpc.RpcMethodHandler[Any, Any]
    Metadata = tuple[tuple[str, str | bytes], ...]

COMPLETIONS = pb.DESCRIPTOR.services_by_name["CompletionService"]
_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]
CHECK_PATH = f"/{_HEALTH.full_name}/Check"
"""Of the health service only this: a watch would stay open, and hold up the end of its replica."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a call ends that is not answered, or not to its end."""

    code: grpc.StatusCode
    details: str
    metadata: Metadata = ()

    @classmethod
    def of(cls, status: grpc.Status) -> Refusal:
        """Return the same in a form that can be pickled."""
        return cls(status.code, status.details or "", tuple(status.trailing_metadata or ()))


def add_servicers(servicer: Any, server: Any) -> None:
    """Add the services to a server; Serve's proxies are told this function's name."""
    pb_grpc.add_CompletionServiceServicer_to_server(servicer, server)
    check = grpc.unary_unary_rpc_method_handler(
        servicer.Check,
        request_deserializer=health_pb2.HealthCheckRequest.FromString,
        response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(_HEALTH.full_name, {"Check": check}),)
    )
    server.add_registered_method_handlers(_HEALTH.full_name, {"Check": check})


class Methods:
    """Collects the methods of services, where they would be added to a server."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def add_generic_rpc_handlers(self, _handlers: object) -> None:
        """Take none: the same come by the method below."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Handler]) -> None:
        """Take the methods of one service; messages stay messages."""
        for name, handler in handlers.items():
            plain = handler._replace(request_deserializer=None, response_serializer=_as_it_is)  # type: ignore[attr-defined]
            self._handlers[f"/{service}/{name}"] = plain

    def __getitem__(self, path: str) -> Handler:
        return self._handlers[path]


def _as_it_is(message: Message) -> Message:
    return message


def _pickled(message: Message) -> tuple[Callable[[str, bytes], Message], tuple[str, bytes]]:
    return _unpickled, (message.DESCRIPTOR.full_name, message.SerializeToString())


def _unpickled(name: str, content: bytes) -> Message:
    return _PICKLED[name].FromString(content)


def _carried() -> Iterator[type[Message]]:
    """Yield the classes of all messages that a call carries from one process to another."""
    methods: Iterable[Any] = (*COMPLETIONS.methods, _HEALTH.methods_by_name["Check"])
    for method in methods:
        yield GetMessageClass(method.input_type)
        yield GetMessageClass(method.output_type)


_PICKLED = {kind.DESCRIPTOR.full_name: kind for kind in _carried()}
for _kind in _PICKLED.values():  # by itself pickle looks for their classes where they are not: nucleus.v1
    copyreg.pickle(_kind, _pickled)


def paths() -> Iterator[tuple[str, type[Message], bool]]:
    """Yield each method's path, the class of its responses, and whether it streams them."""
    for method in COMPLETIONS.methods:
        path = f"/{COMPLETIONS.full_name}/{method.name}"
        yield path, GetMessageClass(method.output_type), bool(method.server_streaming)
    yield CHECK_PATH, health_pb2.HealthCheckResponse, False


@dataclass(frozen=True, slots=True)
class _Details:
    """What the gate asks about a call before it lets it in."""

    method: str
    invocation_metadata: Metadata


class Call:
    """One call, as the context that the gate and the methods know.

    Args:
        peer: Who calls, as gRPC writes it.
        metadata: What came with the call.
    """

    def __init__(self, peer: str, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        self._peer, self._metadata = peer, tuple(metadata)
        self._said: asyncio.Queue[Message | Refusal | None] = asyncio.Queue()
        self._code: grpc.StatusCode | None = None

    async def answers(
        self, gate: GrpcGate, methods: Methods, path: str, request: Message
    ) -> AsyncGenerator[Message | Refusal]:
        """Yield the responses, and at last the refusal if there is one; closing it cancels the call."""
        handler = await gate.intercept_service(
            _found(methods),
            _Details(path, self._metadata),  # type: ignore[arg-type]
        )
        assert handler is not None  # noqa: S101 - the gate answers each call, with a refusal if need be
        drive: Any = handler.unary_stream or handler.stream_stream
        task = asyncio.ensure_future(self._drive(drive, request))
        try:
            while (said := await self._said.get()) is not None:
                yield said
            await task
        finally:
            task.cancel()
            await asyncio.wait((task,))

    async def _drive(self, drive: Callable[..., Awaitable[None]], request: Message) -> None:
        try:
            await drive(request, self)
        except grpc.aio.AbortError:
            pass  # the refusal has been said
        finally:
            self._said.put_nowait(None)

    # --- what the gate and the methods call ---------------------------------------------------------------

    def peer(self) -> str:
        """Return who calls."""
        return self._peer

    def invocation_metadata(self) -> Metadata:
        """Return what came with the call."""
        return self._metadata

    def code(self) -> grpc.StatusCode | None:
        """Return the status that it was ended with."""
        return self._code

    async def send_initial_metadata(self, _metadata: object) -> None:
        """Send nothing: there is no way for it."""

    async def write(self, message: Message) -> None:
        """Send a response."""
        self._said.put_nowait(message)

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        """End the call with a status."""
        refusal = Refusal.of(status)
        self._code = refusal.code
        self._said.put_nowait(refusal)
        raise grpc.aio.AbortError

    async def abort(self, code: grpc.StatusCode, details: str = "", _metadata: object = ()) -> NoReturn:
        """End the call with a code and a text."""
        self._code = code
        self._said.put_nowait(Refusal(code, details))
        raise grpc.aio.AbortError


def _found(methods: Methods) -> Callable[[grpc.HandlerCallDetails], Awaitable[Handler]]:
    async def find(details: grpc.HandlerCallDetails) -> Handler:
        return methods[details.method]

    return find
