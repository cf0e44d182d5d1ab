"""One running server for clients that nobody here wrote."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from engine.serving.auth import ApiKeys
from engine.serving.http import create_app
from engine.serving.http_server import HttpServer
from tests.clients import KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from engine.service.service import CompletionService


@pytest.fixture(scope="session")
async def base_url(service: CompletionService) -> AsyncIterator[str]:
    """Where the server is. It runs on the tests' event loop, so a client that blocks needs a thread."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(create_app(service, ApiKeys([KEY])))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    server.should_exit = True
    await serving


@pytest.fixture(scope="session")
def model(service: CompletionService) -> str:
    """The name that the server answers to."""
    return service.name
