"""One client of the contract for each door: HTTP, gRPC and Python. Events stay raw until they are read.

The benchmarks' clients share the processors with the server that they measure, so an event must cost a client
little: with aiohttp it is about 30 µs of processor time.
"""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

import aiohttp
import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo  # type: ignore[import-untyped]
from grpc_status import rpc_status

from engine.errors import EngineError
from engine.pb.nucleus.v1 import completions_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from google.protobuf.message import Message

    from engine.async_llm import AsyncLLM

Fields = dict[str, Any]
"""A request's, or an answer's, as the contract's JSON has them."""

_LONGEST_LINE = 1 << 24  # bytes
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)  # callers have their own
FINISH_REASONS = {pb.FINISH_REASON_STOP: "stop", pb.FINISH_REASON_LENGTH: "length"}


class CallError(Exception):
    """An answer other than a whole completion, the same at every door.

    ``code`` is the contract's name for it, empty where the server gave none; ``param`` is the field at fault.
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
            CallError: the event is an error.
        """

    async def close(self) -> None:
        """Close what is open."""


class HttpClient:
    """``POST`` to one path, with a key if there is one; each request has a connection of its own."""

    def __init__(
        self, host: str, port: int, path: str = "/v1/completions", *, key: str | None = None
    ) -> None:
        self._url = f"http://{host}:{port}{path}"
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}

    async def events(self, fields: Fields) -> AsyncGenerator[bytes, None]:
        sent = aiohttp.request(
            "POST",
            self._url,
            json=fields,
            headers=self._headers,
            timeout=_NO_TIMEOUT,
            read_bufsize=_LONGEST_LINE,
        )
        try:
            async with sent as answer:
                if answer.status != 200:
                    raise _refusal(await answer.read(), f"HTTP {answer.status}")
                if fields.get("stream") is not True:
                    yield await answer.read()
                    return
                async for line in answer.content:
                    if line.startswith(b"data:"):
                        if (event := line[5:].strip()) == b"[DONE]":
                            return
                        yield event
        except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError):
            raise CallError("the connection ended before the answer") from None
        raise CallError("the stream ended before it was done")

    def read(self, event: bytes) -> Fields:
        body: Fields = json.loads(event)
        if "error" in body:
            raise _refusal(event)
        return body

    async def close(self) -> None:
        """Nothing stays open between requests."""


def _refusal(body: bytes, status: str = "") -> CallError:
    """Read an error's body; a server that is not ours may write it in another shape."""
    try:
        error = json.loads(body)["error"]
        return CallError(error["message"], error["code"], error["param"])
    except (ValueError, KeyError, TypeError):
        return CallError(f"{status} {body.decode(errors='replace')}")


class GrpcClient:
    """``CreateCompletion`` and ``StreamCompletion``, all calls over one channel."""

    methods: ClassVar[tuple[str, str]] = ("CreateCompletion", "StreamCompletion")
    """The one that answers as a whole, and the one that streams."""

    def __init__(self, host: str, port: int) -> None:
        self._channel = grpc.aio.insecure_channel(f"{host}:{port}")
        service = "/nucleus.v1.CompletionService/"  # without a deserializer, messages stay bytes
        create, stream = self.methods
        self._create: Any = self._channel.unary_unary(f"{service}{create}")
        self._stream: Any = self._channel.unary_stream(f"{service}{stream}")

    async def events(self, fields: Fields) -> AsyncGenerator[bytes, None]:
        request = self.message(fields)
        try:
            if fields.get("stream") is not True:
                yield await self._create(request)
                return
            call = self._stream(request)
            try:
                async for event in call:
                    yield event
            finally:
                call.cancel()
        except grpc.aio.AioRpcError as error:
            raise refusal_of(error) from None

    def message(self, fields: Fields) -> bytes:
        """Return a request as bytes, which both methods take: both requests have the same one field."""
        return pb.CreateCompletionRequest(request=to_proto(fields)).SerializeToString()

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
    """:class:`engine.async_llm.AsyncLLM` in this process; whoever made it closes it."""

    def __init__(self, llm: AsyncLLM) -> None:
        self.llm = llm

    async def events(self, fields: Fields) -> AsyncGenerator[Any, None]:
        rest = {name: value for name, value in fields.items() if name != "stream"}
        try:
            if fields.get("stream") is not True:
                yield await self.llm.complete(**fields)
                return
            async with aclosing(self.llm.stream(**rest)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except EngineError as error:
            raise CallError(error.message, error.code, error.param) from None

    def read(self, event: Any) -> Fields:
        body: Fields = event.model_dump()
        return body

    async def close(self) -> None:
        """Leave the engine open, which serves others too."""


def to_proto(fields: Fields) -> pb.CompletionRequest:
    """Return a request as a message; an explicit null is a field left out."""
    body = shared_body(fields)
    if "prompt" in body:
        body["prompt"] = _prompt(body["prompt"])
    return pb.CompletionRequest(**body)


def shared_body(fields: Fields) -> Fields:
    """Return the fields of a message of either shape, but for a prompt."""
    body = {name: value for name, value in fields.items() if name != "stream" and value is not None}
    if isinstance(body.get("stop"), str):
        body["stop"] = [body["stop"]]
    if "logit_bias" in body:
        body["logit_bias"] = {int(token): bias for token, bias in body["logit_bias"].items()}
    return body


def _prompt(prompt: str | list[Any]) -> Fields:
    if isinstance(prompt, str):
        return {"text": prompt}
    if prompt and all(isinstance(item, str) for item in prompt):
        return {"texts": {"values": prompt}}
    if all(isinstance(item, int) for item in prompt):
        return {"tokens": {"values": prompt}}
    return {"token_lists": {"values": [{"values": tokens} for tokens in prompt]}}


def from_proto(message: pb.Completion | pb.CompletionChunk) -> Fields:
    """Return an answer as the contract's JSON, but for ``top_logprobs``, which is never null."""
    return {
        "object": "text_completion",
        "id": message.id,
        "created": message.created,
        "model": message.model,
        "choices": [
            {
                "text": choice.text,
                "index": choice.index,
                "logprobs": _logprobs(choice) if choice.HasField("logprobs") else None,
                "finish_reason": FINISH_REASONS.get(choice.finish_reason),
                **ids_of(choice, "token_ids", "prompt_token_ids"),
            }
            for choice in message.choices
        ],
        "usage": usage_of(message.usage) if message.HasField("usage") else None,
    }


def ids_of(message: Message, *names: str) -> Fields:
    """Return fields of token ids; one that is empty may be one that nobody asked for, and is left out."""
    return {name: [*ids] for name in names if (ids := getattr(message, name))}


def usage_of(usage: pb.Usage) -> Fields:
    """Return the usage as the contract's JSON."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.prompt_tokens_details.cached_tokens},
        "completion_tokens_details": {
            name: getattr(usage.completion_tokens_details, name)
            for name in ("accepted_prediction_tokens", "rejected_prediction_tokens")
        },
    }


def _logprobs(choice: pb.Choice) -> Fields:
    tokens = choice.logprobs.tokens
    forced = [entry.forced for entry in tokens if entry.HasField("forced")]  # empty: there is no form
    ids = [_top_ids(entry) if entry.HasField("logprob") else None for entry in tokens]
    return {
        "tokens": [entry.token for entry in tokens],
        "token_logprobs": [entry.logprob if entry.HasField("logprob") else None for entry in tokens],
        "top_logprobs": [_top(entry) if entry.HasField("logprob") else None for entry in tokens],
        "text_offset": [entry.text_offset for entry in tokens],
        **({"top_token_ids": ids} if any(ids) and (choice.token_ids or choice.prompt_token_ids) else {}),
        **({"forced": forced} if forced else {}),
    }


def _top_ids(entry: pb.TokenLogprob) -> dict[str, int]:
    ids: dict[str, int] = {}
    for other in entry.top_logprobs:
        ids.setdefault(other.token, other.token_id)
    return ids | {entry.token: entry.token_id} if ids else {}


def _top(entry: pb.TokenLogprob) -> dict[str, float]:
    """Map texts to log probabilities: of tokens with one text, the token itself or the better one."""
    top: dict[str, float] = {}
    for other in entry.top_logprobs:  # best first
        top.setdefault(other.token, other.logprob)
    return top | {entry.token: entry.logprob} if top else {}
