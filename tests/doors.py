"""The three doors with one face, so that one test holds for all of them."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import grpc
import httpx2
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo  # type: ignore[import-untyped]
from grpc_status import rpc_status

from engine.errors import EngineError
from engine.llm import AsyncLLM
from engine.pb.nucleus.v1 import completions_pb2 as pb
from engine.pb.nucleus.v1 import completions_pb2_grpc as pb_grpc
from engine.serving.auth import ApiKeys
from engine.serving.grpc import start_grpc
from engine.serving.http import create_app
from engine.serving.server import HttpServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from types import TracebackType

    from google.protobuf.message import Message

    from engine.service.service import CompletionService

Answer = dict[str, Any]

_FINISH_REASONS = {pb.FINISH_REASON_STOP: "stop", pb.FINISH_REASON_LENGTH: "length"}


class DoorError(Exception):
    """A refusal, reduced to what must be the same at every door."""

    def __init__(self, code: str, message: str, param: str | None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.param = param


class Door:
    """One way to ask, and answers in the shape of the contract's JSON."""

    name: ClassVar[str]

    def __init__(self, service: CompletionService) -> None:
        self.service = service

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    async def complete(self, **fields: Any) -> Answer:
        raise NotImplementedError

    def chunks(self, **fields: Any) -> AsyncGenerator[Answer, None]:
        """Yield chunks; closing the iterator leaves the server as a client would that goes away."""
        raise NotImplementedError

    async def tokenize(self, **fields: Any) -> Answer:
        raise NotImplementedError

    async def detokenize(self, **fields: Any) -> Answer:
        raise NotImplementedError

    async def tokenizer_info(self) -> Answer:
        raise NotImplementedError

    async def stream(self, **fields: Any) -> list[Answer]:
        return [chunk async for chunk in self.chunks(**fields)]

    def _with_model(self, fields: Answer) -> Answer:
        return {"model": self.service.name, **fields}


class PythonDoor(Door):
    name = "python"

    async def complete(self, **fields: Any) -> Answer:
        try:
            return (await AsyncLLM.of(self.service).complete(**fields)).model_dump()
        except EngineError as error:
            raise DoorError(error.code, error.message, error.param) from error

    async def chunks(self, **fields: Any) -> AsyncGenerator[Answer, None]:
        try:
            async with aclosing(AsyncLLM.of(self.service).stream(**fields)) as chunks:
                async for chunk in chunks:
                    yield chunk.model_dump()
        except EngineError as error:
            raise DoorError(error.code, error.message, error.param) from error

    async def tokenize(self, **fields: Any) -> Answer:
        try:
            return (await AsyncLLM.of(self.service).tokenize(**fields)).model_dump()
        except EngineError as error:
            raise DoorError(error.code, error.message, error.param) from error

    async def detokenize(self, **fields: Any) -> Answer:
        try:
            return AsyncLLM.of(self.service).detokenize(**fields).model_dump()
        except EngineError as error:
            raise DoorError(error.code, error.message, error.param) from error

    async def tokenizer_info(self) -> Answer:
        return AsyncLLM.of(self.service).tokenizer_info().model_dump()


class HttpDoor(Door):
    name = "http"

    async def __aenter__(self) -> Self:
        listening = socket.create_server(("127.0.0.1", 0))
        self.server = HttpServer(create_app(self.service, ApiKeys()))
        self._serving = asyncio.create_task(self.server.serve(sockets=[listening]))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self.client = httpx2.AsyncClient(base_url=self.url, timeout=60)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.client.aclose()
        self.server.should_exit = True
        await self._serving

    async def complete(self, **fields: Any) -> Answer:
        body = json.dumps(self._with_model(fields))
        return self._read(await self.client.post("/v1/completions", content=body))

    async def tokenize(self, **fields: Any) -> Answer:
        return self._read(await self.client.post("/tokenize", content=json.dumps(fields)))

    async def detokenize(self, **fields: Any) -> Answer:
        return self._read(await self.client.post("/detokenize", content=json.dumps(fields)))

    async def tokenizer_info(self) -> Answer:
        return self._read(await self.client.get("/tokenizer_info"))

    def _read(self, answer: httpx2.Response) -> Answer:
        self._raise_refusal(answer)
        body: Answer = answer.json()
        return body

    async def chunks(self, **fields: Any) -> AsyncGenerator[Answer, None]:
        body = json.dumps(self._with_model(fields) | {"stream": True})
        async with self.client.stream("POST", "/v1/completions", content=body) as answer:
            if answer.status_code != 200:
                await answer.aread()
                self._raise_refusal(answer)
            line = ""
            async for line in _events(answer):
                if line != "[DONE]":
                    yield _chunk(line)
            assert line == "[DONE]"

    @staticmethod
    def _raise_refusal(answer: httpx2.Response) -> None:
        if answer.status_code != 200:
            raise _told(answer.json()["error"])


def _chunk(line: str) -> Answer:
    chunk: Answer = json.loads(line)
    if "error" in chunk:
        raise _told(chunk["error"])
    return chunk


def _told(error: Answer) -> DoorError:
    return DoorError(error["code"], error["message"], error["param"])


async def _events(answer: httpx2.Response) -> AsyncIterator[str]:
    async for line in answer.aiter_lines():
        if line.startswith("data: "):
            yield line.removeprefix("data: ")


class GrpcDoor(Door):
    name = "grpc"

    async def __aenter__(self) -> Self:
        self._server = await start_grpc(self.service, ApiKeys(), host="127.0.0.1", port=0)
        self.target = f"127.0.0.1:{self._server.port}"
        self._channel = grpc.aio.insecure_channel(self.target)
        self.stub: pb_grpc.CompletionServiceAsyncStub = pb_grpc.CompletionServiceStub(self._channel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()
        await self._server.stop(0)

    async def complete(self, **fields: Any) -> Answer:
        request = pb.CreateCompletionRequest(request=to_proto(self._with_model(fields)))
        try:
            return from_proto((await self.stub.CreateCompletion(request)).completion, fields)
        except grpc.aio.AioRpcError as error:
            raise _refusal(error) from error

    async def tokenize(self, **fields: Any) -> Answer:
        try:
            return _plain(await self.stub.Tokenize(pb.TokenizeRequest(**fields)))
        except grpc.aio.AioRpcError as error:
            raise _refusal(error) from error

    async def detokenize(self, **fields: Any) -> Answer:
        try:
            return _plain(await self.stub.Detokenize(pb.DetokenizeRequest(**fields)))
        except grpc.aio.AioRpcError as error:
            raise _refusal(error) from error

    async def tokenizer_info(self) -> Answer:
        return _plain(await self.stub.GetTokenizerInfo(pb.GetTokenizerInfoRequest()))

    async def chunks(self, **fields: Any) -> AsyncGenerator[Answer, None]:
        request = pb.StreamCompletionRequest(request=to_proto(self._with_model(fields)))
        call = self.stub.StreamCompletion(request)
        try:
            async for response in call:
                yield from_proto(response.chunk, fields)
        except grpc.aio.AioRpcError as error:
            raise _refusal(error) from error
        finally:
            call.cancel()


def _plain(message: Message) -> Answer:
    """Write a message with one name for each field; one that is not set is null."""
    plain: Answer = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.is_repeated:
            plain[field.name] = list(value)
        else:
            is_null = field.has_presence and not message.HasField(field.name)
            plain[field.name] = None if is_null else value
    return plain


def _refusal(error: grpc.aio.AioRpcError) -> DoorError:
    """Read the details, where a program finds the code and the field at fault."""
    reason, field = ErrorInfo(reason=error.code().name), BadRequest()
    status = cast("Any", rpc_status.from_call(cast("Any", error)))
    for detail in status.details if status is not None else ():
        for message in (reason, field):
            detail.Unpack(message)
    param = field.field_violations[0].field if field.field_violations else None
    return DoorError(reason.reason.lower(), error.details() or "", param)


def to_proto(fields: Answer) -> pb.CompletionRequest:
    """Write JSON-like fields as a protobuf body; an explicit null is a field left out."""
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


def from_proto(message: pb.Completion | pb.CompletionChunk, fields: Answer) -> Answer:
    """Write a protobuf answer as the contract's JSON."""
    answer: Answer = {"object": "text_completion", "id": message.id, "created": message.created}
    answer["model"] = message.model
    answer["choices"] = [
        {
            "text": choice.text,
            "index": choice.index,
            "logprobs": _logprobs(choice.logprobs, fields) if choice.HasField("logprobs") else None,
            "finish_reason": _FINISH_REASONS.get(choice.finish_reason),
        }
        for choice in message.choices
    ]
    answer["usage"] = _usage(message.usage) if message.HasField("usage") else None
    return answer


def _logprobs(logprobs: pb.Logprobs, fields: Answer) -> Answer:
    tops = [_top(entry) if entry.HasField("logprob") else None for entry in logprobs.tokens]
    return {
        "tokens": [entry.token for entry in logprobs.tokens],
        "token_logprobs": [entry.logprob if entry.HasField("logprob") else None for entry in logprobs.tokens],
        "top_logprobs": tops if fields["logprobs"] else None,
        "text_offset": [entry.text_offset for entry in logprobs.tokens],
    }


def _top(entry: pb.TokenLogprob) -> dict[str, float]:
    """Map texts to log probabilities: of tokens with one text, the token itself or the better one."""
    top: dict[str, float] = {}
    for other in entry.top_logprobs:  # best first
        top.setdefault(other.token, other.logprob)
    return top | {entry.token: entry.logprob} if top else {}


def _usage(usage: pb.Usage) -> Answer:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.prompt_tokens_details.cached_tokens},
    }


DOORS: tuple[type[Door], ...] = (PythonDoor, GrpcDoor, HttpDoor)
