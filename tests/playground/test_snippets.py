""" "Copy as …": what is copied asks for what was asked for."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf import json_format

from engine.pb.nucleus.v1 import completions_pb2 as pb
from engine.pb.nucleus.v1 import completions_pb2_grpc as pb_grpc
from tests.playground.conftest import loaded
from tests.playground.playground import words_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from playwright.async_api import Page, Route

    from tests.playground.playground import Playground

PROMPT = 'It\'s "quoted" — the capital of France is'


async def output_of(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, complaint = await process.communicate()
    assert process.returncode == 0, complaint.decode()
    return out.decode()


@pytest.fixture(scope="module")
async def asked(page: Page, url: str) -> AsyncIterator[Playground]:
    """The page with an answer, which all tests copy."""
    async with loaded(page, url) as playground:
        await playground.complete(PROMPT, temperature="0", max_tokens="6", top_k="40", stop="END")
        yield playground


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not on the PATH")
async def test_curl(asked: Playground) -> None:
    events = (await output_of("bash", "-c", await asked.copied("curl"))).split("\n\n")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events if event.startswith("data: {")]
    assert "".join(choice["text"] for chunk in chunks for choice in chunk["choices"]) == await asked.text()


async def test_python(asked: Playground) -> None:
    code = await asked.copied("Python")
    assert await output_of(sys.executable, "-c", code) == await asked.text()


@pytest.mark.skipif(not shutil.which("node"), reason="node is not on the PATH")
async def test_javascript(asked: Playground) -> None:
    code = await asked.copied("JavaScript")
    assert await output_of("node", "--input-type=module", "-e", code) == await asked.text()


async def test_grpc(asked: Playground) -> None:
    words = words_of(await asked.copied("gRPC"))
    assert words[:3] == ["grpcurl", "-plaintext", "-d"]
    message, target, method = words[3:]
    request = json_format.Parse(message, pb.StreamCompletionRequest())
    assert method == "nucleus.v1.CompletionService/StreamCompletion"
    async with grpc.aio.insecure_channel(target) as channel:
        stub: pb_grpc.CompletionServiceAsyncStub = pb_grpc.CompletionServiceStub(channel)
        chunks = [answer.chunk async for answer in stub.StreamCompletion(request)]
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == await asked.text()


@pytest.mark.parametrize(
    ("address", "command"),
    [
        (None, "# gRPC is off on this server."),
        (
            {"port": None, "path": "/run/n.sock", "tls": False},
            "grpcurl -plaintext -d {} -unix /run/n.sock {}",
        ),
        ({"port": 4, "path": None, "tls": True}, "grpcurl -d {} 127.0.0.1:4 {}"),
        (
            {"port": 4, "path": None, "tls": True, "client_certificate": True},
            "grpcurl -cert client.pem -key client.key -d {} 127.0.0.1:4 {}",
        ),
    ],
    ids=["off", "a Unix socket", "TLS", "certificates of clients"],
)
async def test_grpc_is_asked_where_it_is(
    asked: Playground, address: dict[str, Any] | None, command: str
) -> None:
    async def tell(route: Route) -> None:
        await route.fulfill(json={"grpc": address and {"client_certificate": False, **address}})

    async with routed(asked, "**/version", tell):
        words = words_of(await asked.copied("gRPC"))
    assert [re.sub("^({.*}|nucleus.*)$", "{}", each, flags=re.DOTALL) for each in words] == command.split()


@asynccontextmanager
async def routed(
    playground: Playground, path: str, answer: Callable[[Route], Awaitable[None]]
) -> AsyncIterator[None]:
    await playground.page.route(path, answer)
    yield
    await playground.page.unroute(path)
