"""The three doors with one face, so that one test holds for all of them."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack, aclosing, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Self

import grpc
import httpx2

from benchmarks.chat_client import GrpcChatClient, PythonChatClient
from benchmarks.client import CallError, GrpcClient, HttpClient, PythonClient, refusal_of
from benchmarks.servers import HOST, serving
from engine.async_llm import AsyncLLM
from engine.errors import EngineError
from engine.pb.nucleus.v1 import completions_pb2 as pb
from engine.pb.nucleus.v1 import completions_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from types import TracebackType

    from google.protobuf.message import Message

    from benchmarks.client import Client
    from engine.service.service import CompletionService

Answer = dict[str, Any]


class Door:
    """One way to ask, and answers in the shape of the contract's JSON."""

    name: ClassVar[str]
    client: Client
    chat_client: Client

    def __init__(self, service: CompletionService) -> None:
        self.service = service
        self._opened = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._opened.aclose()

    async def complete(self, **fields: Any) -> Answer:
        (answer,) = [answer async for answer in self._answers(fields)]
        return answer

    async def chat(self, **fields: Any) -> Answer:
        (answer,) = [answer async for answer in self._chat_answers(fields)]
        return answer

    async def stream_chat(self, **fields: Any) -> list[Answer]:
        return [chunk async for chunk in self._chat_answers(fields | {"stream": True})]

    def chunks(self, **fields: Any) -> AsyncGenerator[Answer, None]:
        """Yield chunks; closing the iterator leaves the server as a client would that goes away."""
        return self._answers(fields | {"stream": True})

    def _answers(self, fields: Answer) -> AsyncGenerator[Answer, None]:
        return self._read_all(self.client, fields)

    def _chat_answers(self, fields: Answer) -> AsyncGenerator[Answer, None]:
        return self._read_all(self.chat_client, fields)

    async def _read_all(self, client: Client, fields: Answer) -> AsyncGenerator[Answer, None]:
        async with aclosing(client.events(self._with_model(fields))) as events:
            async for event in events:
                yield client.read(event)

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

    def __init__(self, service: CompletionService) -> None:
        super().__init__(service)
        self._llm = AsyncLLM.of(service)
        self.client = PythonClient(self._llm)
        self.chat_client = PythonChatClient(self._llm)

    async def tokenize(self, **fields: Any) -> Answer:
        with _refused():
            return (await self._llm.tokenize(**fields)).model_dump()

    async def detokenize(self, **fields: Any) -> Answer:
        with _refused():
            return self._llm.detokenize(**fields).model_dump()

    async def tokenizer_info(self) -> Answer:
        return self._llm.tokenizer_info().model_dump()

    def _with_model(self, fields: Answer) -> Answer:
        return fields


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except EngineError as error:
        raise CallError(error.message, error.code, error.param) from error


class HttpDoor(Door):
    name = "http"

    async def __aenter__(self) -> Self:
        ports = await self._opened.enter_async_context(serving(self.service))
        self.client = HttpClient(HOST, ports.http)
        self.chat_client = HttpClient(HOST, ports.http, "/v1/chat/completions")
        url, as_json = f"http://{HOST}:{ports.http}", {"Content-Type": "application/json"}
        other_routes = httpx2.AsyncClient(base_url=url, headers=as_json, timeout=60)
        self.routes = await self._opened.enter_async_context(other_routes)
        return self

    async def tokenize(self, **fields: Any) -> Answer:
        return self._read(await self.routes.post("/tokenize", content=json.dumps(fields)))

    async def detokenize(self, **fields: Any) -> Answer:
        return self._read(await self.routes.post("/detokenize", content=json.dumps(fields)))

    async def tokenizer_info(self) -> Answer:
        return self._read(await self.routes.get("/tokenizer_info"))

    def _read(self, answer: httpx2.Response) -> Answer:
        return self.client.read(answer.content)


class GrpcDoor(Door):
    name = "grpc"

    async def __aenter__(self) -> Self:
        ports = await self._opened.enter_async_context(serving(self.service))
        self.client, self.chat_client = GrpcClient(HOST, ports.grpc), GrpcChatClient(HOST, ports.grpc)
        self._opened.push_async_callback(self.client.close)
        self._opened.push_async_callback(self.chat_client.close)
        self.channel = grpc.aio.insecure_channel(f"{HOST}:{ports.grpc}")
        await self._opened.enter_async_context(self.channel)
        self.stub: pb_grpc.CompletionServiceAsyncStub = pb_grpc.CompletionServiceStub(self.channel)
        return self

    async def _answers(self, fields: Answer) -> AsyncGenerator[Answer, None]:
        async with aclosing(super()._answers(fields)) as answers:
            async for answer in answers:
                for choice in answer["choices"]:
                    if fields.get("logprobs") == 0:  # the message has empty lists where JSON has a null
                        choice["logprobs"] |= {"top_logprobs": None}
                    _add_empty_ids(choice, fields)
                yield answer

    async def _chat_answers(self, fields: Answer) -> AsyncGenerator[Answer, None]:
        async with aclosing(super()._chat_answers(fields)) as answers:
            async for answer in answers:
                for choice in answer["choices"]:
                    _add_empty_ids(choice, fields)
                yield answer

    async def tokenize(self, **fields: Any) -> Answer:
        try:
            return _plain(await self.stub.Tokenize(pb.TokenizeRequest(**fields)))
        except grpc.aio.AioRpcError as error:
            raise refusal_of(error) from error

    async def detokenize(self, **fields: Any) -> Answer:
        try:
            return _plain(await self.stub.Detokenize(pb.DetokenizeRequest(**fields)))
        except grpc.aio.AioRpcError as error:
            raise refusal_of(error) from error

    async def tokenizer_info(self) -> Answer:
        return _plain(await self.stub.GetTokenizerInfo(pb.GetTokenizerInfoRequest()))


def _add_empty_ids(choice: Answer, fields: Answer) -> None:
    """Add the empty list that a message does not tell from one that nobody asked for."""
    if fields.get("return_token_ids"):
        choice.setdefault("token_ids", [])


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


DOORS: tuple[type[Door], ...] = (PythonDoor, GrpcDoor, HttpDoor)
