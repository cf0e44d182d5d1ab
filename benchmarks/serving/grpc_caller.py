"""The gRPC door, called with ``grpc.aio``; messages stay bytes until the run is over."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

import grpc

from benchmarks.serving.reply import CallError, Piece
from engine.pb.nucleus.v1 import completions_pb2 as pb

if TYPE_CHECKING:
    from benchmarks.serving.reply import Reply

_METHOD = "/nucleus.v1.CompletionService/StreamCompletion"


class GrpcCaller:
    """``StreamCompletion``, all calls over one channel.

    Args:
        host: Address of the server.
        port: Port of the server.
    """

    def __init__(self, host: str, port: int) -> None:
        self._channel = grpc.aio.insecure_channel(f"{host}:{port}")
        self._stream: Any = self._channel.unary_stream(
            _METHOD, request_serializer=pb.StreamCompletionRequest.SerializeToString
        )

    async def call(self, fields: dict[str, Any], reply: Reply) -> None:
        try:
            async for payload in self._stream(_message(fields)):
                reply.arrivals.append((perf_counter(), payload))
        except grpc.aio.AioRpcError as error:
            raise CallError(f"{error.code().name} {error.details()}") from None

    def piece(self, payload: bytes) -> Piece:
        chunk = pb.StreamCompletionResponse.FromString(payload).chunk
        return Piece(
            is_text=any(choice.text or choice.HasField("logprobs") for choice in chunk.choices),
            at_length=any(choice.finish_reason == pb.FINISH_REASON_LENGTH for choice in chunk.choices),
            completion_tokens=chunk.usage.completion_tokens if chunk.HasField("usage") else None,
        )

    async def close(self) -> None:
        await self._channel.close()


def _message(fields: dict[str, Any]) -> pb.StreamCompletionRequest:
    rest = {name: value for name, value in fields.items() if name != "prompt"}
    request = pb.CompletionRequest(
        prompt=pb.Prompt(text=fields["prompt"]), stream_options=pb.StreamOptions(include_usage=True), **rest
    )
    return pb.StreamCompletionRequest(request=request)
