"""The gRPC door: a channel for each client, on which a call is cancelled where the client leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from benchmarks.soak.part import Part, RefusedError
from engine.pb.nucleus.v1 import completions_pb2 as pb
from engine.pb.nucleus.v1 import completions_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from benchmarks.soak.request import Request

_REASONS = {pb.FINISH_REASON_STOP: "stop", pb.FINISH_REASON_LENGTH: "length"}


class GrpcDoor:
    """``CreateCompletion`` and ``StreamCompletion``.

    Args:
        host: Address of the server.
        port: Port of the server.
    """

    def __init__(self, host: str, port: int) -> None:
        self._channel = grpc.aio.insecure_channel(f"{host}:{port}")
        self._stub: pb_grpc.CompletionServiceAsyncStub = pb_grpc.CompletionServiceStub(self._channel)

    async def ask(self, request: Request) -> AsyncGenerator[Part, None]:
        parts = self._chunks(request) if request.streams else self._whole(request)
        try:
            async for part in parts:
                yield part
        except grpc.aio.AioRpcError as error:
            code = error.code()
            blames_request = code == grpc.StatusCode.INVALID_ARGUMENT
            raise RefusedError(code.name, error.details() or "", blames_request=blames_request) from None
        finally:
            await parts.aclose()

    async def close(self) -> None:
        await self._channel.close()

    async def _whole(self, request: Request) -> AsyncGenerator[Part, None]:
        answer = await self._stub.CreateCompletion(pb.CreateCompletionRequest(request=_message(request)))
        yield _part(answer.completion)

    async def _chunks(self, request: Request) -> AsyncGenerator[Part, None]:
        message = _message(request)
        message.stream_options.include_usage = True
        call = self._stub.StreamCompletion(pb.StreamCompletionRequest(request=message))
        try:
            async for response in call:
                yield _part(response.chunk)
        finally:
            call.cancel()


def _message(request: Request) -> pb.CompletionRequest:
    fields = dict(request.fields)
    prompt = fields.pop("prompt", None)
    return pb.CompletionRequest(prompt=None if prompt is None else pb.Prompt(text=prompt), **fields)


def _part(message: pb.Completion | pb.CompletionChunk) -> Part:
    ended = {
        choice.index: _REASONS.get(choice.finish_reason, str(choice.finish_reason))
        for choice in message.choices
        if choice.finish_reason != pb.FINISH_REASON_UNSPECIFIED
    }
    return Part(ended, message.usage.completion_tokens if message.HasField("usage") else None)
