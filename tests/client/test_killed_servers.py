"""A server is killed in the middle of its streams, and another one ends them."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack, ExitStack
from typing import TYPE_CHECKING, Any

import grpc
import httpx2
import pytest

from engine.client.grpc import GrpcClient
from engine.client.http import HttpClient
from engine.client.resuming import Retries
from engine.errors import InvalidRequestError, ModelNotFoundError
from engine.pb.nucleus.v1 import completions_pb2 as pb
from tests.process import MODEL, Serving, nucleus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

PROMPT = "It was a bright cold day in April, and"
ASK: dict[str, Any] = {"model": MODEL, "seed": 7, "max_tokens": 48, "ignore_eos": True}
CHAT: dict[str, Any] = {**ASK, "messages": [{"role": "user", "content": "天气 🙂?"}], "presence_penalty": 0.5}


@pytest.fixture(scope="module")
def servers() -> Iterator[list[Serving]]:
    with ExitStack() as stack:
        yield [stack.enter_context(nucleus("--parallel", 4)) for _ in range(2)]


def streams(http: HttpClient, rpc: GrpcClient) -> list[AsyncIterator[Any]]:
    """Ask for the same answers over both wires."""
    return [
        http.stream(prompt=PROMPT, **ASK),
        http.stream_chat(**CHAT),
        rpc.stream(pb.CompletionRequest(prompt=pb.Prompt(text=PROMPT), **ASK)),
        rpc.stream_chat(pb.ChatRequest(**CHAT)),
    ]


def read(chunk: Any) -> tuple[str, list[int], object]:
    """Return the text, the tokens and the end that a chunk of either wire adds."""
    if isinstance(chunk, dict):
        (choice,) = chunk["choices"]
        text = choice["text"] if "text" in choice else choice["delta"].get("content", "")
        return text, choice["token_ids"], choice["finish_reason"]
    (choice,) = chunk.choices
    text = choice.text if isinstance(chunk, pb.CompletionChunk) else choice.delta.content
    return text, [*choice.token_ids], {0: None, 1: "stop", 2: "length"}[choice.finish_reason]


def joined(chunks: list[Any]) -> tuple[str, list[int], object]:
    pieces = [*map(read, chunks)]
    text, tokens = "".join(text for text, _, _ in pieces), [token for _, ids, _ in pieces for token in ids]
    return text, tokens, pieces[-1][2]


async def first_of(stream: AsyncIterator[Any]) -> list[Any]:
    return [await anext(stream) for _ in range(4)]


async def rest_of(stream: AsyncIterator[Any], chunks: list[Any]) -> list[Any]:
    return chunks + [chunk async for chunk in stream]


async def test_another_server_ends_what_a_killed_one_began(servers: list[Serving]) -> None:
    first, second = servers
    async with AsyncExitStack() as stack:

        async def clients(*of: Serving) -> tuple[HttpClient, GrpcClient]:
            http = HttpClient(*(server.address("HTTP") for server in of))
            rpc = GrpcClient(*(server.address("gRPC") for server in of))
            return await stack.enter_async_context(http), await stack.enter_async_context(rpc)

        alone = [[chunk async for chunk in stream] for stream in streams(*await clients(second))]
        broken = streams(*await clients(first, second))
        begun = await asyncio.gather(*map(first_of, broken))
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
        ended = await asyncio.gather(*map(rest_of, broken, begun))
        state = await stack.enter_async_context(httpx2.AsyncClient(base_url=second.address("HTTP")))
        told = (await state.get("/state")).json()["totals"]
    assert told["requests"] == 8, "four whole streams, and the rests of four"
    for whole, resumed in zip(alone, ended, strict=True):
        assert joined(resumed) == joined(whole)
        assert len(joined(whole)[1]) == ASK["max_tokens"]
    ids = [{chunk["id"] if isinstance(chunk, dict) else chunk.id for chunk in chunks} for chunks in ended]
    assert [len(each) for each in ids] == [1] * 4


async def test_what_no_server_answers_is_raised_at_once(servers: list[Serving]) -> None:
    server = servers[1]
    async with HttpClient(server.address("HTTP")) as http, GrpcClient(server.address("gRPC")) as rpc:
        with pytest.raises(InvalidRequestError) as refused:
            await anext(http.stream(model=MODEL, prompt="a", temperature=3))
        assert refused.value.param == "temperature"
        with pytest.raises(ModelNotFoundError):
            await anext(http.stream(model="another", prompt="a"))
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await anext(rpc.stream(pb.CompletionRequest(model="another", prompt=pb.Prompt(text="a"))))
        assert told.value.code() is grpc.StatusCode.NOT_FOUND
        for ask in (
            lambda: http.stream(prompt=["a", "b"]),
            lambda: http.stream_chat(n=2),
            lambda: rpc.stream(pb.CompletionRequest(n=2)),
            lambda: rpc.stream(pb.CompletionRequest(prompt=pb.Prompt(texts=pb.TextList(values="ab")))),
        ):
            with pytest.raises(InvalidRequestError, match="one choice"):
                ask()


async def test_where_nobody_listens_the_last_reason_is_raised(unused_tcp_port: int) -> None:
    few = Retries(most=1)
    async with GrpcClient(f"127.0.0.1:{unused_tcp_port}", retries=few) as rpc:
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await anext(rpc.stream(pb.CompletionRequest(model="m")))
        assert told.value.code() is grpc.StatusCode.UNAVAILABLE
    async with HttpClient(f"http://127.0.0.1:{unused_tcp_port}", retries=few) as http:
        with pytest.raises(httpx2.ConnectError):
            await anext(http.stream(model="m", prompt="a"))
