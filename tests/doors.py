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

from benchmarks.client import from_proto, to_proto
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
            return self._answer((await self.stub.CreateCompletion(request)).completion, fields)
        except grpc.aio.AioRpcError as error:
            raise _refusal(error) from error

    @staticmethod
    def _answer(message: pb.Completion | pb.CompletionChunk, fields: Answer) -> Answer:
        return from_proto(message, with_tops=fields.get("logprobs") != 0)

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
                yield self._answer(response.chunk, fields)
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


DOORS: tuple[type[Door], ...] = (PythonDoor, GrpcDoor, HttpDoor)
