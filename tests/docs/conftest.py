"""One running server for the commands and programs of all pages."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from engine.models.names import locate
from engine.serving.auth import ApiKeys
from engine.serving.grpc import start_grpc
from engine.serving.http import create_app
from engine.serving.http_server import HttpServer
from engine.serving.listen import Endpoint
from tests.clients import npm
from tests.docs.blocks import ROOT
from tests.docs.runner import Runner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from engine.service.service import CompletionService


@pytest.fixture(scope="session")
async def addresses(service: CompletionService) -> AsyncIterator[dict[str, str]]:
    """The addresses that pages name, and where the two doors are."""
    listening = socket.create_server(("127.0.0.1", 0))
    http = HttpServer(create_app(service, ApiKeys()))
    serving = asyncio.create_task(http.serve(sockets=[listening]))
    grpc = await start_grpc(service, ApiKeys(), Endpoint())
    yield {
        "127.0.0.1:8000": f"127.0.0.1:{listening.getsockname()[1]}",
        "127.0.0.1:50051": f"127.0.0.1:{grpc.port}",
    }
    await grpc.stop(0)
    http.should_exit = True
    await serving


@pytest.fixture(scope="session")
def runner_of(addresses: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Runner]:
    """Return the runner of a page, always the same."""
    runners: dict[str, Runner] = {}

    def runner(page: str) -> Runner:
        if page not in runners:
            folder = tmp_path_factory.mktemp("page")
            (folder / "proto").symlink_to(ROOT / "proto")
            (folder / "my-model.gguf").symlink_to(locate("smollm2-135m-instruct").path)
            if npm.is_at_hand():
                (folder / "node_modules").symlink_to(npm.install() / "node_modules")
            runners[page] = Runner(folder, addresses)
        return runners[page]

    return runner
