"""One client of the contract for each door: HTTP, gRPC and Python. Events stay raw until they are read.

The benchmarks' clients share the processors with the server that they measure. So :class:`HttpClient` is
thin: httpx2 took three times the processor time for each event, 0.2 ms on the machine of docs/performance.md.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol, cast

import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo  # type: ignore[import-untyped]
from grpc_status import rpc_status

from engine.errors import EngineError
from engine.pb.nucleus.v1 import completions_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from engine.llm import AsyncLLM

Fields = dict[str, Any]
"""A request's, or an answer's, as the contract's JSON has them."""

_FINISH_REASONS = {pb.FINISH_REASON_STOP: "stop", pb.FINISH_REASON_LENGTH: "length"}


class CallError(Exception):
    """An answer other than a whole completion, the same at every door.

    Args:
        message: What the server said, or how the connection ended.
        code: The contract's name for it; empty where the server gave none.
        param: The field at fault, if one is.
    """

    def __init__(self, message: str, code: str = "", param: str | None = None) -> None:
        super().__init__(f"{code}: {message}" if code else message)
        self.message, self.code, self.param = message, code, param


class Client(Protocol):
    """A client of one door."""

    def events(self, fields: Fields) -> AsyncGenerator[Any, None]:
        """Yield the events of a stream, or one event where ``stream`` is not set; :meth:`read` reads them.

        Closing the iterator leaves as a client does that goes away.

        Raises:
            CallError: the server refused, or broke the stream off.
            OSError: there is no connection.
        """

    def read(self, event: Any) -> Fields:
        """Return an event as the contract's JSON.

        Raises:
            CallError: the event tells of an error.
        """

    async def close(self) -> None:
        """Let go of what is open."""


class HttpClient:
    """``POST /v1/completions``, on asyncio's streams; each request has a connection of its own.

    Args:
        host: Address of the server.
        port: Port of the server.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port

    async def events(self, fields: Fields) -> AsyncGenerator[bytes, None]:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(self._request(fields))
            async with aclosing(_chunks(reader)) as chunks:
                if fields.get("stream") is not True:
                    yield b"".join([chunk async for chunk in chunks])
                    return
                async for event in _events(chunks):
                    yield event
        except EOFError:
            raise CallError("the connection ended before the answer") from None
        finally:
            writer.close()

    def read(self, event: bytes) -> Fields:
        body: Fields = json.loads(event)
        if "error" in body:
            raise _refusal(event)
        return body

    async def close(self) -> None:
        """Nothing stays open between requests."""

    def _request(self, fields: Fields) -> bytes:
        body = json.dumps(fields).encode()
        head = (
            f"POST /v1/completions HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


async def _chunks(reader: asyncio.StreamReader) -> AsyncGenerator[bytes, None]:
    """Read a response: its head, and then its body, in chunks or whole."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status = head.partition("\r\n")[0]
    if status.split()[1] != "200":
        raise _refusal(await reader.read(), status)
    if "transfer-encoding: chunked" not in head:
        yield await reader.read()
        return
    while size := int(await reader.readuntil(b"\r\n"), 16):
        yield (await reader.readexactly(size + 2))[:-2]


def _refusal(body: bytes, status: str = "") -> CallError:
    """Read an error's body; a server that is not ours may write it in another shape."""
    try:
        error = json.loads(body)["error"]
        return CallError(error["message"], error["code"], error["param"])
    except (ValueError, KeyError, TypeError):
        return CallError(f"{status} {body.decode(errors='replace')}")


async def _events(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield what follows ``data:`` on each line, up to the event that ends the stream."""
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                if (event := line[5:].strip()) == b"[DONE]":
                    return
                yield event
    raise CallError("the stream ended before it was done")


class GrpcClient:
    """``CreateCompletion`` and ``StreamCompletion``, all calls over one channel.

    Args:
        host: Address of the server.
        port: Port of the server.
    """

    def __init__(self, host: str, port: int) -> None:
        self._channel = grpc.aio.insecure_channel(f"{host}:{port}")
        service = "/nucleus.v1.CompletionService/"  # without a deserializer, messages stay bytes
        self._create: Any = self._channel.unary_unary(f"{service}CreateCompletion")
        self._stream: Any = self._channel.unary_stream(f"{service}StreamCompletion")

    async def events(self, fields: Fields) -> AsyncGenerator[bytes, None]:
        request = to_proto(fields)
        try:
            if fields.get("stream") is not True:
                yield await self._create(pb.CreateCompletionRequest(request=request).SerializeToString())
                return
            call = self._stream(pb.StreamCompletionRequest(request=request).SerializeToString())
            try:
                async for event in call:
                    yield event
            finally:
                call.cancel()
        except grpc.aio.AioRpcError as error:
            raise refusal_of(error) from None

    def read(self, event: bytes) -> Fields:
        # Both responses have the answer as their first field, and a chunk is a completion in its fields.
        return from_proto(pb.CreateCompletionResponse.FromString(event).completion)

    async def close(self) -> None:
        await self._channel.close()


def refusal_of(error: grpc.aio.AioRpcError) -> CallError:
    """Read the details, where a program finds the code and the field at fault."""
    reason, field = ErrorInfo(reason=error.code().name), BadRequest()
    status = cast("Any", rpc_status.from_call(cast("Any", error)))
    for detail in status.details if status is not None else ():
        for message in (reason, field):
            detail.Unpack(message)
    param = field.field_violations[0].field if field.field_violations else None
    return CallError(error.details() or "", reason.reason.lower(), param)


class PythonClient:
    """:class:`engine.llm.AsyncLLM` in this process.

    Args:
        llm: The engine; whoever made it closes it.
    """

    def __init__(self, llm: AsyncLLM) -> None:
        self._llm = llm

    async def events(self, fields: Fields) -> AsyncGenerator[Any, None]:
        rest = {name: value for name, value in fields.items() if name != "stream"}
        try:
            if fields.get("stream") is not True:
                yield await self._llm.complete(**fields)
                return
            async with aclosing(self._llm.stream(**rest)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except EngineError as error:
            raise CallError(error.message, error.code, error.param) from None

    def read(self, event: Any) -> Fields:
        chunk: Fields = event.model_dump()
        return chunk

    async def close(self) -> None:
        """The engine serves others too."""


def to_proto(fields: Fields) -> pb.CompletionRequest:
    """Return a request as a message; an explicit null is a field left out."""
    body = {name: value for name, value in fields.items() if value is not None}
    prompt, messages = body.pop("prompt", None), body.pop("messages", [])
    stop, bias, options = body.pop("stop", []), body.pop("logit_bias", {}), body.pop("stream_options", None)
    body.pop("stream", None)
    request = pb.CompletionRequest(**body)
    if prompt is not None:
        request.prompt.CopyFrom(_prompt(prompt))
    request.messages.extend(pb.Message(**message) for message in messages)
    request.stop.extend([stop] if isinstance(stop, str) else stop)
    for token, value in bias.items():
        request.logit_bias[int(token)] = value
    if options is not None:
        request.stream_options.CopyFrom(pb.StreamOptions(**options))
    return request


def _prompt(prompt: Any) -> pb.Prompt:
    if isinstance(prompt, str):
        return pb.Prompt(text=prompt)
    if all(isinstance(item, str) for item in prompt) and prompt:
        return pb.Prompt(texts=pb.TextList(values=prompt))
    if all(isinstance(item, int) for item in prompt):
        return pb.Prompt(tokens=pb.TokenList(values=prompt))
    return pb.Prompt(token_lists=pb.TokenLists(values=[pb.TokenList(values=item) for item in prompt]))


def from_proto(message: pb.Completion | pb.CompletionChunk) -> Fields:
    """Return an answer as the contract's JSON, but for ``top_logprobs``, which is never null."""
    answer: Fields = {"object": "text_completion", "id": message.id, "created": message.created}
    answer["model"] = message.model
    answer["choices"] = [
        {
            "text": choice.text,
            "index": choice.index,
            "logprobs": _logprobs(choice),
            "finish_reason": _FINISH_REASONS.get(choice.finish_reason),
        }
        for choice in message.choices
    ]
    answer["usage"] = _usage(message.usage) if message.HasField("usage") else None
    return answer


def _logprobs(choice: pb.Choice) -> Fields | None:
    if not choice.HasField("logprobs"):
        return None
    entries = choice.logprobs.tokens
    tops = [_top(entry) if entry.HasField("logprob") else None for entry in entries]
    return {
        "tokens": [entry.token for entry in entries],
        "token_logprobs": [entry.logprob if entry.HasField("logprob") else None for entry in entries],
        "top_logprobs": tops,
        "text_offset": [entry.text_offset for entry in entries],
    }


def _top(entry: pb.TokenLogprob) -> dict[str, float]:
    """Map texts to log probabilities: of tokens with one text, the token itself or the better one."""
    top: dict[str, float] = {}
    for other in entry.top_logprobs:  # best first
        top.setdefault(other.token, other.logprob)
    return top | {entry.token: entry.logprob} if top else {}


def _usage(usage: pb.Usage) -> Fields:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.prompt_tokens_details.cached_tokens},
    }
