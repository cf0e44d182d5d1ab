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
from engine.serving.auth import ApiKeys
from engine.serving.http import create_app
from engine.serving.http_server import HttpServer
from engine.serving.origins import OriginPolicy
from tests.playground.playground import Playground

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, BrowserContext

    from engine.service.service import CompletionService

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@asynccontextmanager
async def serving(service: CompletionService, keys: ApiKeys) -> AsyncIterator[str]:
    """Give the address of a server, with the policy of one that listens on this machine alone."""
    with socket.create_server((HOST, 0)) as listening:
        server = HttpServer(create_app(service, keys, origins=OriginPolicy.of(HOST)))
        task = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield f"http://{HOST}:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


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


@pytest.fixture
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    opened = await browser.new_context(viewport={"width": 1200, "height": 900})
    opened.set_default_timeout(30_000)
    yield opened
    await opened.close()


@pytest.fixture
async def playground(context: BrowserContext, url: str) -> AsyncIterator[Playground]:
    """The page, loaded; nothing may be logged as an error, and nobody else may be asked."""
    opened = Playground(await context.new_page())
    await opened.open(url)
    yield opened
    opened.check()
