"""The page in a real browser, headless, before a real server."""

from __future__ import annotations

import asyncio
import shutil
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import async_playwright

from benchmarks.servers import HOST
from engine.contract.status import GrpcAddress
from engine.serving.auth import ApiKeys
from engine.serving.grpc import start_grpc
from engine.serving.http import create_app
from engine.serving.http_server import HttpServer
from engine.serving.listen import Endpoint
from engine.serving.origins import OriginPolicy
from tests.playground.playground import Playground

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, Page

    from engine.service.service import CompletionService

CLIPBOARD = ["clipboard-read", "clipboard-write"]
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@asynccontextmanager
async def serving(service: CompletionService, keys: ApiKeys) -> AsyncIterator[str]:
    """Give the address of a server, with the policy of one that listens on this machine alone."""
    with socket.create_server((HOST, 0)) as listening:
        grpc = await start_grpc(service, keys, Endpoint(HOST))
        at = GrpcAddress(port=grpc.port, path=None, tls=False, client_certificate=False)
        server = HttpServer(create_app(service, keys, origins=OriginPolicy.of(HOST), grpc=at))
        task = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield f"http://{HOST}:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task
            await grpc.stop()


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    found = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium is on the PATH: apt install chromium")
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield running
        await running.close()


@pytest.fixture(scope="session")
async def url(service: CompletionService) -> AsyncIterator[str]:
    async with serving(service, ApiKeys()) as address:
        yield address


@pytest.fixture(scope="session")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """One page for all tests, each of which loads it anew: that is quicker than a new one."""
    context = await browser.new_context(viewport={"width": 1200, "height": 900}, permissions=CLIPBOARD)
    context.set_default_timeout(30_000)
    yield await context.new_page()
    await context.close()


@asynccontextmanager
async def loaded(page: Page, url: str) -> AsyncIterator[Playground]:
    """Load the page; nothing may be logged as an error, and nobody else may be asked."""
    playground = Playground(page)
    await playground.open(url)
    yield playground
    playground.close()
    await page.unroute_all(behavior="ignoreErrors")
    await page.goto("about:blank")
    playground.check()


@pytest.fixture
async def playground(page: Page, url: str) -> AsyncIterator[Playground]:
    async with loaded(page, url) as playground:
        yield playground
