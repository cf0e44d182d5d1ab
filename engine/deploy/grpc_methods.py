"""The methods of our gRPC services, as the proxies of Ray Serve call them on a deployment."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from engine.deploy.grpc_calls import Refusal, paths

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable

    from google.protobuf.message import Message

    class Context(Protocol):
        """What Serve gives to a method instead of gRPC's context."""

        def peer(self) -> str:
            """Return who calls, as gRPC writes it."""

        def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]]:
            """Return what came with the call."""

        def set_code(self, code: Any) -> None:
            """Set the status that the call ends with."""

        def set_details(self, details: str) -> None:
            """Set its text."""

        def set_trailing_metadata(self, metadata: list[tuple[str, str | bytes]]) -> None:
            """Set what goes with it."""


ClassT = TypeVar("ClassT", bound=type)


class CallError(RuntimeError):
    """Ends a stream whose context has been told why; Serve tells the client."""


def with_grpc_methods(cls: ClassT) -> ClassT:
    """Add every method of the services to a class that has ``call_grpc(path, request, context)``."""
    for path, answer, is_stream in paths():
        method = _streamed(path) if is_stream else _whole(path, answer)
        method.__name__ = path.rpartition("/")[2]
        setattr(cls, method.__name__, method)
    return cls


def _whole(path: str, answer: type[Message]) -> Callable[..., Coroutine[Any, Any, Message]]:
    async def call(self: Any, request: Message, grpc_context: Context) -> Message:
        """Return the response; with a status that is an error, gRPC sends none, but the status's details."""
        response = answer()
        async for said in _calls(self, path, request, grpc_context):
            if isinstance(said, Refusal):
                _tell(said, grpc_context)
            else:
                response = said
        return response

    return call


def _streamed(path: str) -> Callable[..., AsyncIterator[Message]]:
    async def call(self: Any, request: Message, grpc_context: Context) -> AsyncIterator[Message]:
        async with aclosing(_calls(self, path, request, grpc_context)) as answers:
            async for said in answers:
                if isinstance(said, Refusal):
                    _tell(said, grpc_context)
                    raise CallError(said.details)
                yield said

    return call


def _calls(
    deployment: Any, path: str, request: Message, context: Context
) -> AsyncGenerator[Message | Refusal]:
    answers: AsyncGenerator[Message | Refusal] = deployment.call_grpc(path, request, context)
    return answers


def _tell(refusal: Refusal, context: Context) -> None:
    context.set_code(refusal.code)
    context.set_details(refusal.details)
    context.set_trailing_metadata(list(refusal.metadata))
