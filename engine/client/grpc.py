"""Streams over gRPC that outlive a server: needs grpcio and protobuf alone."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from engine.client.resuming import BrokenStreamError, Retries, fresh_seed, read_resuming
from engine.errors import InvalidRequestError
from engine.extras import explained

try:
    import grpc

    from engine.pb.nucleus.v1 import completions_pb2 as pb
    from engine.pb.nucleus.v1 import completions_pb2_grpc as pb_grpc
except ModuleNotFoundError as error:
    raise explained(error, "engine.client.grpc", "client") from None

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from types import TracebackType

_RequestT = TypeVar("_RequestT", pb.CompletionRequest, pb.ChatRequest)
_ChunkT = TypeVar("_ChunkT", pb.CompletionChunk, pb.ChatCompletionChunk)

_BROKEN = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED})
"""CANCELLED is what a server that closes says, and HAProxy; who leaves gets asyncio's own exception."""
_DETAILS = "grpc-status-details-bin"
_QUEUE_FULL = b"QUEUE_FULL"  # what is too large has the same status
_OPTIONS = [
    ("grpc.keepalive_time_ms", 20_000),  # a server cuts off who asks more often than every ten seconds
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 200),  # until then a channel fails every call without connecting
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


class GrpcClient:
    """Streams answers from the first address that gives them, and goes on at the next where one breaks.

    Args:
        *addresses: ``host:port`` of servers of one model, or one of a gateway. A broken stream goes on at the
            next; behind the last comes the first.
        key: The API key, if the servers want one.
        credentials: For TLS; None connects in plain.
        retries: How often, and when.

    Example:
        >>> request = pb.CompletionRequest(model="m", prompt=pb.Prompt(text="Hi"))  # doctest: +SKIP
        >>> async with GrpcClient("10.0.0.1:50051", "10.0.0.2:50051") as client:  # doctest: +SKIP
        ...     async for chunk in client.stream(request):
        ...         print(chunk.choices[0].text, end="")
    """

    def __init__(
        self,
        *addresses: str,
        key: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        retries: Retries = Retries(),  # noqa: B008 - frozen
    ) -> None:
        if not addresses:
            raise InvalidRequestError("'addresses' should hold at least one address.", param="addresses")
        self._channels = [_channel(address, credentials) for address in addresses]
        self._metadata = [] if key is None else [("authorization", f"Bearer {key}")]
        self._retries = retries

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; streams that run end."""
        for channel in self._channels:
            await channel.close()

    def stream(self, request: pb.CompletionRequest) -> AsyncGenerator[pb.CompletionChunk, None]:
        """Yield the chunks of an answer of one choice, all with the id of the first.

        Args:
            request: What to complete. A seed is added where it has none; token ids are always returned.

        Raises:
            InvalidRequestError: it asks for several choices.
            grpc.aio.AioRpcError: the server has refused it, or no address has an answer.
        """
        return self._stream(request, "StreamCompletion", pb.StreamCompletionRequest)

    def stream_chat(self, request: pb.ChatRequest) -> AsyncGenerator[pb.ChatCompletionChunk, None]:
        """Yield the chunks of an answer to a chat, as :meth:`stream` does.

        Args:
            request: What to answer.

        Raises:
            InvalidRequestError: it asks for several choices.
            grpc.aio.AioRpcError: the server has refused it, or no address has an answer.
        """
        return self._stream(request, "StreamChatCompletion", pb.StreamChatCompletionRequest)

    def _stream(self, request: Any, method: str, envelope: Any) -> AsyncGenerator[Any, None]:
        asked = _resumable(request)
        wants_usage = asked.stream_options.include_usage
        ask = partial(self._ask, asked, method, envelope)
        return read_resuming(ask, _WIRE, self._retries, wants_usage=wants_usage)

    async def _ask(
        self, request: Any, method: str, envelope: Any, n_broken: int, tokens: list[int]
    ) -> AsyncGenerator[Any, None]:
        stub: Any = pb_grpc.CompletionServiceStub(self._channels[n_broken % len(self._channels)])
        call = getattr(stub, method)(envelope(request=_behind(request, tokens)), metadata=self._metadata)
        try:
            async for response in call:
                yield response.chunk
        except grpc.aio.AioRpcError as error:
            if _can_go_on(error):
                raise BrokenStreamError(error) from None
            raise
        finally:
            call.cancel()


def _channel(address: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    if credentials is None:
        return grpc.aio.insecure_channel(address, options=_OPTIONS)
    return grpc.aio.secure_channel(address, credentials, options=_OPTIONS)


def _resumable(request: _RequestT) -> _RequestT:
    """Return a copy of a request that can be resumed.

    Raises:
        InvalidRequestError: it asks for several choices.
    """
    several = isinstance(request, pb.CompletionRequest) and (
        len(request.prompt.texts.values) > 1 or len(request.prompt.token_lists.values) > 1
    )
    if several or request.n > 1:
        raise InvalidRequestError(
            f"{'prompt' if several else 'n'!r} should ask for one choice, as only that can be resumed.",
            param="prompt" if several else "n",
        )
    copy = type(request)()
    copy.CopyFrom(request)
    copy.return_token_ids = True
    if not copy.HasField("seed"):
        copy.seed = fresh_seed()
    return copy


def _behind(request: _RequestT, tokens: Sequence[int]) -> _RequestT:
    """Return a request for the rest of an answer; the prompt was echoed before its first token."""
    if not tokens:
        return request
    rest = type(request)()
    rest.CopyFrom(request)
    rest.resume_token_ids.extend(tokens)
    if isinstance(rest, pb.CompletionRequest):
        rest.ClearField("echo")
    return rest


def _can_go_on(error: grpc.aio.AioRpcError) -> bool:
    """Return True if another server may do better."""
    if error.code() in _BROKEN:
        return True
    details: Any = dict(error.trailing_metadata() or ()).get(_DETAILS, b"")
    return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and _QUEUE_FULL in details


class _Messages:
    """Reads chunks of either shape."""

    def token_ids(self, chunk: Any) -> Sequence[int]:
        return [token for choice in chunk.choices for token in choice.token_ids]

    def has_choice(self, chunk: Any) -> bool:
        return bool(chunk.choices)

    def begins(self, chunk: Any) -> bool:
        return isinstance(chunk, pb.ChatCompletionChunk) and any(each.delta.role for each in chunk.choices)

    def ends(self, chunk: Any) -> bool:
        return any(choice.finish_reason for choice in chunk.choices)

    def joined_to(self, first: _ChunkT, chunk: _ChunkT) -> _ChunkT:
        chunk.id, chunk.created = first.id, first.created
        for choice in chunk.choices:
            if isinstance(choice, pb.Choice):
                choice.ClearField("prompt_token_ids")
        return chunk


_WIRE = _Messages()
