"""Clients of the chat shape for gRPC and Python; over HTTP it is :class:`HttpClient` with another path."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from benchmarks.client import (
    FINISH_REASONS,
    CallError,
    GrpcClient,
    PythonClient,
    ids_of,
    shared_body,
    usage_of,
)
from engine.errors import EngineError
from engine.pb.nucleus.v1 import completions_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from benchmarks.client import Fields


class GrpcChatClient(GrpcClient):
    """``CreateChatCompletion`` and ``StreamChatCompletion``."""

    methods = ("CreateChatCompletion", "StreamChatCompletion")

    async def events(self, fields: Fields) -> AsyncGenerator[Any, None]:
        is_stream = fields.get("stream") is True
        kind: Any = pb.StreamChatCompletionResponse if is_stream else pb.CreateChatCompletionResponse
        async with aclosing(super().events(fields)) as events:
            async for event in events:
                yield kind.FromString(event)

    def message(self, fields: Fields) -> bytes:
        """Return a request as bytes."""
        request = pb.ChatRequest(**shared_body(fields))
        return pb.CreateChatCompletionRequest(request=request).SerializeToString()

    def read(self, event: Any) -> Fields:
        is_chunk = isinstance(event, pb.StreamChatCompletionResponse)
        answer = event.chunk if is_chunk else event.completion
        return {
            "id": answer.id,
            "object": "chat.completion.chunk" if is_chunk else "chat.completion",
            "created": answer.created,
            "model": answer.model,
            "choices": [_choice(choice) for choice in answer.choices],
            "usage": usage_of(answer.usage) if answer.HasField("usage") else None,
            **ids_of(answer, "prompt_token_ids"),
        }


def _choice(choice: pb.ChatChoice | pb.ChatChunkChoice) -> Fields:
    written: Fields = {"index": choice.index}
    if isinstance(choice, pb.ChatChoice):
        message = {"role": choice.message.role, "content": choice.message.content, "refusal": None}
        written["message"] = message
    else:
        names = [name for name in ("role", "content") if choice.delta.HasField(name)]
        written["delta"] = {name: getattr(choice.delta, name) for name in names}
    tokens = [_token(token, with_ids=bool(choice.token_ids)) for token in choice.logprobs.content]
    written["logprobs"] = {"content": tokens, "refusal": None} if choice.HasField("logprobs") else None
    reason = FINISH_REASONS.get(choice.finish_reason)
    return written | {"finish_reason": reason, **ids_of(choice, "token_ids")}


def _token(token: pb.TokenLogprob, *, with_ids: bool) -> Fields:
    forced = {"forced": token.forced} if token.HasField("forced") else {}
    tops = [_plain(top, with_ids=with_ids) for top in token.top_logprobs]
    return _plain(token, with_ids=with_ids) | {"top_logprobs": tops} | forced


def _plain(token: pb.TokenLogprob | pb.TopLogprob, *, with_ids: bool) -> Fields:
    told = {"token": token.token, "logprob": token.logprob, "bytes": [*token.token_bytes]}
    return told | ({"token_id": token.token_id} if with_ids else {})


class PythonChatClient(PythonClient):
    """The chat methods of :class:`engine.async_llm.AsyncLLM`."""

    async def events(self, fields: Fields) -> AsyncGenerator[Any, None]:
        rest = {name: value for name, value in fields.items() if name != "stream"}
        try:
            if fields.get("stream") is not True:
                yield await self.llm.chat(**fields)
                return
            async with aclosing(self.llm.stream_chat(**rest)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except EngineError as error:
            raise CallError(error.message, error.code, error.param) from None
