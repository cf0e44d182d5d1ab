"""An HTTP door on loopback, over a service without a model, and raw sockets to talk to it."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx2

from engine.serving.auth import ApiKeys
from engine.serving.connection import ConnectionLimits
from engine.serving.http import create_app
from engine.serving.http_server import HttpServer
from tests.quick import AnyText, engine_of, service_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from engine.service.service import CompletionService
    from engine.serving.origins import OriginPolicy

ASK = {"model": "fake", "prompt": "ABC", "max_tokens": 2, "seed": 1}
PATH = "/v1/completions"


class Served(NamedTuple):
    """A running door."""

    server: HttpServer
    service: CompletionService
    backend: AnyText
    client: httpx2.AsyncClient
    port: int

    async def raw(self, request: bytes) -> bytes:
        """Send bytes, and return all that comes until the server closes the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        try:
            return await reader.read()
        finally:
            writer.close()


@asynccontextmanager
async def served(
    *,
    keys: ApiKeys | None = None,
    origins: OriginPolicy | None = None,
    limits: ConnectionLimits | None = None,
    max_seconds: float | None = None,
    max_requests: int = 64,
    **options: Any,
) -> AsyncIterator[Served]:
    backend = AnyText()
    service = service_of(engine_of(backend, max_requests=max_requests), max_seconds=max_seconds)
    listening = socket.create_server(("127.0.0.1", 0))
    app = create_app(service, keys or ApiKeys(), origins=origins, **options)
    server = HttpServer(app, service, limits=limits or ConnectionLimits(), keys=keys)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    port = listening.getsockname()[1]
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield Served(server, service, backend, client, port)
    finally:  # or a test that fails holds up the end of all of them
        backend.open_gate()
        server.should_exit = True
        await serving
        await asyncio.to_thread(service.close)


def post(body: object, *headers: str, path: str = PATH) -> bytes:
    """Return the bytes of a request that asks for its connection to be closed."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"POST {path} HTTP/1.1", "Connection: close", f"Content-Length: {len(content)}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + content


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def error_of(answer: bytes) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    return error
