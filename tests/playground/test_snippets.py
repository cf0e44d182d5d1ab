""" "Copy as …": what is copied asks for what was asked for."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import shutil
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf import json_format
from playwright.async_api import expect

from engine.pb.nucleus.v1 import completions_pb2 as pb
from engine.pb.nucleus.v1 import completions_pb2_grpc as pb_grpc
from tests.playground.conftest import loaded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from playwright.async_api import Page, Route

    from tests.playground.playground import Playground

PROMPT = 'It\'s "quoted" — the capital of France is'


async def copied(playground: Playground, language: str) -> str:
    shown = playground.page.locator("#announcements")
    await shown.evaluate("(each) => each.replaceChildren()")
    await playground.page.get_by_role("button", name=language).click()
    await expect(shown).to_have_text(f"Copied as {language}.")
    return await playground.page.input_value("#snippet")


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


async def test_what_is_typed_is_copied_before_it_is_sent_and_followed(playground: Playground) -> None:
    page, box = playground.page, playground.page.locator("#snippet")
    await page.fill("#prompt", "Not sent")
    await copied(playground, "curl")
    assert await playground.evaluate("navigator.clipboard.readText()") == await box.input_value()
    await playground.set(temperature="0.25")
    assert body_of(await box.input_value()).items() >= {"prompt": "Not sent", "temperature": 0.25}.items()
    await playground.set(temperature="9")
    await expect(box).to_have_value("Something is wrong or missing.")
    await page.get_by_role("button", name="Python").click()
    await expect(page.locator("#field-temperature")).to_be_focused()
    await playground.set(temperature="")
    await page.click("#tab-chat")
    await page.fill("#say", "Hello")
    asked = body_of(await box.input_value())
    assert asked["messages"] == [{"role": "user", "content": "Hello"}]
    assert asked["max_completion_tokens"] == 64
    await page.click("#send")
    await playground.ended()
    assert body_of(await box.input_value()) == playground.sent[-1] == asked
    assert len(playground.sent) == 1


def body_of(command: str) -> dict[str, Any]:
    """Return the body that a command for curl sends."""
    body: dict[str, Any] = json.loads(words_of(command)[-1])
    return body


async def test_a_browser_that_does_not_copy_is_told(playground: Playground) -> None:
    page, told = playground.page, playground.page.locator("#announcements")
    await page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    await page.get_by_role("button", name="curl").click()
    await expect(told).to_have_text("The browser does not let the page copy: do it by hand.")
    await page.click("#share")
    await expect(told).not_to_contain_text("copied")
    await expect(told).to_contain_text("The address holds")


async def test_what_is_done_is_told_to_everybody(playground: Playground) -> None:
    told = playground.page.locator("#announcements")
    await playground.complete(PROMPT, max_tokens="2")
    await playground.column().get_by_role("button", name="Copy text").click()
    await expect(told).to_have_text("Copied.")
    await expect(told).not_to_have_class("unseen")
    await playground.column().locator(".text").focus()
    await playground.page.keyboard.press("ArrowRight")
    await expect(told).to_have_class("unseen")


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not on the PATH")
async def test_curl(asked: Playground) -> None:
    events = (await output_of("bash", "-c", await copied(asked, "curl"))).split("\n\n")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events if event.startswith("data: {")]
    assert "".join(choice["text"] for chunk in chunks for choice in chunk["choices"]) == await asked.text()


async def test_python(asked: Playground) -> None:
    code = await copied(asked, "Python")
    assert await output_of(sys.executable, "-c", code) == await asked.text()


@pytest.mark.skipif(not shutil.which("node"), reason="node is not on the PATH")
async def test_javascript(asked: Playground) -> None:
    code = await copied(asked, "JavaScript")
    assert await output_of("node", "--input-type=module", "-e", code) == await asked.text()


async def test_grpc(asked: Playground) -> None:
    words = words_of(await copied(asked, "gRPC"))
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
        words = words_of(await copied(asked, "gRPC"))
    assert [re.sub("^({.*}|nucleus.*)$", "{}", each, flags=re.DOTALL) for each in words] == command.split()


@asynccontextmanager
async def routed(
    playground: Playground, path: str, answer: Callable[[Route], Awaitable[None]]
) -> AsyncIterator[None]:
    await playground.page.route(path, answer)
    yield
    await playground.page.unroute(path)


def words_of(command: str) -> list[str]:
    """Return the words that a shell makes of a command of several lines."""
    return shlex.split(command.replace("\\\n", " "), comments=False)
