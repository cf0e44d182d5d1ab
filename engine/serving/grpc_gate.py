"""What every gRPC call passes before its method: who may call. Then its id, its log line and its errors."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, asynccontextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from grpc_status import rpc_status

from engine.errors import (
    DeadlineExceededError,
    EngineError,
    InternalError,
    InvalidRequestError,
    RouteNotFoundError,
)
from engine.service.record import RequestRecord, current_record, note_error
from engine.serving import wire
from engine.serving.access import Access
from engine.serving.auth import caller_of
from engine.serving.exchange import request_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Mapping

    from engine.serving.access_log import AccessLog
    from engine.serving.auth import ApiKeys
    from engine.serving.grpc_limits import GrpcLimits

    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]
    Metadata = Iterable[tuple[str, str | bytes]]

log = logging.getLogger("nucleus.grpc")

HEALTH_NAME = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


class GrpcGate(grpc.aio.ServerInterceptor):
    """Handles every call first: checks its key, sends its id, and turns any exception into a status.

    It guards every method that is not open by name, so that a service added later is guarded too.

    Args:
        keys: The API keys that open every method but those of the health service.
        limits: What clients may take of the server.
        access_log: Writes about each call when it has ended.
        refuse: Is told which method was refused for its key, and why.
        absent: Methods of a service of others that nothing here is behind -> why.
    """

    def __init__(
        self,
        keys: ApiKeys,
        limits: GrpcLimits,
        access_log: AccessLog,
        *,
        refuse: Callable[[str, EngineError], None],
        absent: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._keys = keys
        self._limits = limits
        self._access_log = access_log
        self._refuse = refuse
        self._absent = absent

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        method = handler_call_details.method
        # gRPC finds the method by this string, so a name with this prefix reaches only the health service.
        if not method.startswith(f"/{HEALTH_NAME}/"):
            try:
                self._keys.check(value_of(handler_call_details.invocation_metadata, "authorization"))
            except EngineError as error:
                self._refuse(method, error)
                return self._refusal(method, error)
        if method in self._absent:
            name = method.rpartition("/")[2]
            return self._refusal(
                method, RouteNotFoundError(f"{name} is not supported: {self._absent[method]}.")
            )
        handler = await continuation(handler_call_details)
        if handler is None:
            return self._refusal(method, RouteNotFoundError(f"There is no method {method[:80]!r}."))
        return self._guarded(method, handler)

    def _refusal(self, method: str, error: EngineError) -> Handler:
        """Answer any method with an error; as a stream, so that the request is not even read.

        Where there is no such method, the status comes alone: behind headers a client would take a stream for
        one that is there and breaks off.
        """
        is_there = not isinstance(error, RouteNotFoundError)

        async def refuse(_request: object, context: Context) -> None:
            async with self._logged(method, context, has_headers=is_there), _failing_clearly(context):
                raise error

        return grpc.stream_stream_rpc_method_handler(refuse)

    def _guarded(self, method: str, handler: Handler) -> Handler:
        """Wrap a method of whatever kind, so that it fails as the contract says, and waits for no reader.

        One that answers once is driven like a stream of one message: on the wire they are alike, and gRPC
        gives no other way to end the writing of an answer that nobody reads.
        """
        if handler.unary_unary is not None:
            behaviour: Any = _answering(handler.unary_unary)
        elif handler.unary_stream is not None:
            behaviour = handler.unary_stream
        elif handler.stream_stream is not None:
            drive = self._driving(method, handler.stream_stream, None, handler.response_serializer)
            return grpc.stream_stream_rpc_method_handler(drive, handler.request_deserializer, None)
        else:
            raise TypeError("a method that reads a stream and answers once is not foreseen")
        drive = self._driving(method, behaviour, handler.request_deserializer, handler.response_serializer)
        return grpc.unary_stream_rpc_method_handler(drive, None, None)

    def _driving(
        self, method: str, behaviour: Any, deserialize: Any, serialize: Any
    ) -> Callable[[Any, Context], Awaitable[None]]:
        """Drive the method's generator here: gRPC leaves it open when the client goes away during a write."""

        async def drive(request: Any, context: Context) -> None:
            async with self._logged(method, context):
                async with _failing_clearly(context):
                    responses = behaviour(_read(request, deserialize), context)
                await _send_all(responses, serialize, context, self._limits.stall_seconds)

        return drive

    @asynccontextmanager
    async def _logged(
        self, method: str, context: Context, *, has_headers: bool = True
    ) -> AsyncIterator[None]:
        """Send the call's id, and write about the call when it has ended."""
        metadata = tuple(context.invocation_metadata() or ())
        name = request_id(value_of(metadata, "x-request-id"))
        record = RequestRecord("grpc")
        access = Access("gRPC", method, _address(context.peer()), name, record, status="CANCELLED")
        access.headers = lambda: ((key, value) for key, value in metadata if isinstance(value, str))
        current_record.set(access.record)
        try:
            if has_headers:
                await context.send_initial_metadata((("x-request-id", name),))
            yield
            access.is_answered, access.status = True, "OK"
        except grpc.aio.AbortError:
            access.status = access.aborted = _name_of(context.code())
            raise
        finally:
            self._access_log.write(access)


def _name_of(code: int | grpc.StatusCode) -> str:
    """Return the word for a status, which gRPC has as a number here."""
    number = code.value[0] if isinstance(code, grpc.StatusCode) else code
    return next((status.name for status in grpc.StatusCode if status.value[0] == number), str(number))


def _answering(behaviour: Any) -> Callable[[Any, Context], AsyncIterator[Any]]:
    async def answer(request: Any, context: Context) -> AsyncIterator[Any]:
        yield await behaviour(request, context)

    return answer


async def _send_all(responses: Any, serialize: Any, context: Context, stall_seconds: float) -> None:
    """Send what a method's generator yields; at its end, or if nobody reads it, the generator is closed."""
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
    note_error(failure)
    await context.abort_with_status(rpc_status.to_status(wire.status_of(failure)))


def _address(peer: str) -> str:
    """Return the address in what gRPC calls a client, without its port.

    >>> _address("ipv6:%5B::1%5D:50312")
    '::1'
    """
    kind, _, place = peer.partition(":")
    return unquote(place.rpartition(":")[0]).strip("[]") if kind in ("ipv4", "ipv6") else "local"


def caller(context: Context) -> Hashable:
    """Return what identifies the client of a call for taking turns."""
    host = context.peer().rpartition(":")[0]  # without the port
    return caller_of(host, value_of(context.invocation_metadata() or (), "authorization"))


def value_of(metadata: Metadata, name: str) -> str | None:
    """Return the first text of a name, or None."""
    return next((value for key, value in metadata if key == name and isinstance(value, str)), None)
