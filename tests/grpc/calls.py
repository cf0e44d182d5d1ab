"""How the tests call the gRPC door, and read what it answers."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest
from grpc_status import rpc_status

from engine.pb.nucleus.v1 import completions_pb2 as pb
from engine.pb.nucleus.v1 import completions_pb2_grpc as pb_grpc
from engine.serving.grpc import start_grpc
from engine.serving.listen import Endpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from engine.contract.responses import Choice
    from engine.service.service import CompletionService
    from engine.serving.auth import ApiKeys

    Stub = pb_grpc.CompletionServiceAsyncStub


HOST = "127.0.0.1"


KEY = (("authorization", "Bearer sk-test"),)


CODE = grpc.StatusCode


PATIENCE = 60.0  # never waited for where things work


@asynccontextmanager
async def serving(
    service: CompletionService, keys: ApiKeys, **options: Any
) -> AsyncIterator[grpc.aio.Channel]:
    server = await start_grpc(service, keys, Endpoint(HOST), **options)
    async with grpc.aio.insecure_channel(f"{HOST}:{server.port}") as channel:
        yield channel
    await server.stop()


def stub_of(channel: grpc.aio.Channel) -> Stub:
    return pb_grpc.CompletionServiceStub(channel)


def text(prompt: str) -> pb.Prompt:
    return pb.Prompt(text=prompt)


def tokens(*ids: int) -> pb.Prompt:
    return pb.Prompt(tokens=pb.TokenList(values=ids))


FRANCE = text("The capital of France is")


def request_of(method: str, request: pb.CompletionRequest) -> Any:
    """Return the request of a method: of a chat method, one with the same text as a user's message."""
    kind = getattr(pb, f"{method}Request")
    if "Chat" not in method:
        return kind(request=request)
    known = {*pb.ChatRequest.DESCRIPTOR.fields_by_name} - {"messages", "logprobs"}
    fields: Any = {field.name: value for field, value in request.ListFields() if field.name in known}
    message = pb.Message(role="user", content=request.prompt.text)
    return kind(request=pb.ChatRequest(messages=[message], **fields))


METHODS = ("CreateCompletion", "StreamCompletion", "CreateChatCompletion", "StreamChatCompletion")


async def create(stub: Stub, request: pb.CompletionRequest) -> pb.Completion:
    return (await stub.CreateCompletion(pb.CreateCompletionRequest(request=request))).completion


async def stream(stub: Stub, request: pb.CompletionRequest) -> list[pb.CompletionChunk]:
    call = stub.StreamCompletion(pb.StreamCompletionRequest(request=request))
    return [response.chunk async for response in call]


def raw_call(
    channel: grpc.aio.Channel, method: str, body: bytes = b"", metadata: tuple[tuple[str, str], ...] = ()
) -> Any:
    """Call any method with the bytes of one message; on the wire all kinds of method look alike."""
    return cast("Any", channel).unary_stream(method)(body, metadata=metadata)


async def error_of(call: Any) -> grpc.aio.AioRpcError:
    """Return how a unary call, or a stream before its first message, fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (call if hasattr(call, "__await__") else call.read())
    return caught.value


def details(error: grpc.aio.AioRpcError, kind: Any) -> Any:
    """Return the one detail of a kind, or None."""
    status = cast("Any", rpc_status.from_call(cast("Any", error)))
    found = [kind.FromString(detail.value) for detail in status.details if detail.Is(kind.DESCRIPTOR)]
    assert len(found) <= 1
    return found[0] if found else None


def plain(choice: pb.Choice) -> dict[str, Any]:
    """A choice in Python's form, to compare with the contract's."""
    reasons = {pb.FINISH_REASON_STOP: "stop", pb.FINISH_REASON_LENGTH: "length"}
    entries = choice.logprobs.tokens
    return {
        "text": choice.text,
        "index": choice.index,
        "finish_reason": reasons.get(choice.finish_reason),
        "tokens": [entry.token for entry in entries],
        "token_ids": [entry.token_id for entry in entries],
        "token_bytes": [entry.token_bytes for entry in entries],
        "token_logprobs": [entry.logprob if entry.HasField("logprob") else None for entry in entries],
        "top_logprobs": [[(top.token, top.logprob) for top in entry.top_logprobs] for entry in entries],
        "text_offset": [entry.text_offset for entry in entries],
    }


def expected(choice: Choice) -> dict[str, Any]:
    plain: dict[str, Any] = {"text": choice.text, "index": choice.index}
    plain["finish_reason"] = choice.finish_reason
    for name in ("tokens", "token_ids", "token_bytes", "token_logprobs", "text_offset"):
        plain[name] = getattr(choice.logprobs, name, [])
    tops = choice.logprobs.top_logprobs if choice.logprobs else []
    plain["top_logprobs"] = (
        [[] for _ in plain["tokens"]] if tops is None else [list((top or {}).items()) for top in tops]
    )
    return plain


def joined(chunks: list[pb.CompletionChunk]) -> list[dict[str, Any]]:
    """Put the choices of a stream together."""
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for piece in map(plain, chunk.choices):
            whole = choices.setdefault(piece["index"], piece)
            if whole is not piece:
                assert whole["finish_reason"] is None
                for name, value in piece.items():
                    whole[name] = value if name in ("index", "finish_reason") else whole[name] + value
    return [choices[index] for index in sorted(choices)]


# --- answers -----------------------------------------------------------------------------------------------
