"""Both doors of a service, opened as ``nucleus serve`` does, on free ports of the loopback interface."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from engine.serving.auth import ApiKeys
from engine.serving.grpc import start_grpc
from engine.serving.http import create_app
from engine.serving.server import HttpServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from engine.service.service import CompletionService

_HOST = "127.0.0.1"
_GRACE_SECONDS = 5.0


class Address(NamedTuple):
    """Where the doors are."""

    host: str
    http_port: int
    grpc_port: int


@asynccontextmanager
async def open_doors(service: CompletionService) -> AsyncIterator[Address]:
    """Serve on the running event loop for as long as the context lasts."""
    with socket.create_server((_HOST, 0)) as listening:
        grpc = await start_grpc(service, ApiKeys(), host=_HOST, port=0)
        http = HttpServer(create_app(service, ApiKeys()))
        serving = asyncio.create_task(http.serve(sockets=[listening]))
        try:
            yield Address(_HOST, listening.getsockname()[1], grpc.port)
        finally:
            http.should_exit = True
            await serving
            await grpc.stop(_GRACE_SECONDS)
