"""Both doors in one process, on one event loop, over one service."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

import uvicorn

from engine import __version__
from engine.errors import AddressError
from engine.loading.launch import launch
from engine.service.event_loop import new_event_loop
from engine.serving.auth import ApiKeys
from engine.serving.grpc import start_grpc
from engine.serving.http import create_app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from starlette.types import ASGIApp

    from engine.loading.launch import Launched
    from engine.service.service import CompletionService
    from engine.settings import ServeSettings

_GRACE_SECONDS = 5.0
_FAREWELL_SECONDS = 2  # for the last answers to be sent
_TICK_SECONDS = 0.05


def run(settings: ServeSettings, *, say: Callable[[str], None]) -> None:
    """Serve until a signal ends it.

    Args:
        settings: What to serve, and where.
        say: Prints one start-up line for a person.

    Raises:
        EngineError: the model cannot be loaded, or an address is taken.
    """
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_serve(settings, say))


async def _serve(settings: ServeSettings, say: Callable[[str], None]) -> None:
    began = time.perf_counter()
    with closing(_listen(settings.host, settings.http_port, "--http-port")) as http_socket:
        _listen(settings.host, settings.grpc_port, "--grpc-port").close()  # before minutes of loading
        say(f"Nucleus {__version__}: loading {settings.model}")
        launched = await asyncio.to_thread(launch, settings)
        with closing(launched.service) as service:
            keys = ApiKeys((settings.api_key or "").split(","))
            # Use the address, not the name: a name may stand for several addresses, and some may be taken.
            address, http_port = http_socket.getsockname()[:2]
            grpc = await start_grpc(service, keys, host=address, port=settings.grpc_port)
            http = HttpServer(create_app(service, keys), service)
            for line in _start_lines(launched, settings, http_port, grpc.port, time.perf_counter() - began):
                say(line)
            try:
                await http.serve_until_signal(http_socket)
            finally:
                await grpc.stop(_GRACE_SECONDS)


class HttpServer(uvicorn.Server):
    """uvicorn without its habit of raising the signal again, which would skip everybody else's clean-up.

    After a signal, the server refuses new requests with 503. Running requests have ``grace`` seconds to end,
    and then get an error. uvicorn alone would close their connections, and sse-starlette would cut every
    stream at once. A second signal stops the server without waiting.

    Args:
        app: The ASGI application.
        service: The service behind it, which a signal closes.
        grace: Seconds that what runs has after a signal.
    """

    def __init__(
        self, app: ASGIApp, service: CompletionService | None = None, *, grace: float = _GRACE_SECONDS
    ) -> None:
        self._service, self._grace = service, grace
        self._leaving: asyncio.Task[None] | None = None
        super().__init__(
            uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=_FAREWELL_SECONDS)
        )

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        # Connections inherit it. Without it a body waits until the client has acknowledged the head, 40 ms;
        # asyncio (unlike uvloop) sets it only on sockets made for TCP by name, as create_server's are not.
        for listening in sockets or ():
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._service is None or self._leaving is not None:
            super().handle_exit(sig, frame)
        else:
            self._leaving = asyncio.get_running_loop().create_task(self._leave(self._service))

    async def _leave(self, service: CompletionService) -> None:
        service.drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._grace):
                while service.snapshot().requests_unfinished:  # noqa: ASYNC110 - the engine gives no sign but this one
                    await asyncio.sleep(_TICK_SECONDS)
        await asyncio.to_thread(service.close)
        self.should_exit = True

    async def serve_until_signal(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        await self.serve(sockets=[listening])

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(host: str, port: int, flag: str) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return socket.create_server(found[0][4][:2], family=found[0][0], backlog=2048)
    except OSError as error:
        raise AddressError(
            f"Cannot listen on {host}:{port}: {error.strerror or error}.", hint=f"Choose another {flag}."
        ) from None


def _start_lines(
    launched: Launched, settings: ServeSettings, http_port: int, grpc_port: int, seconds: float
) -> Iterator[str]:
    for setting in launched.report.settings:
        yield f"  {setting.what:<9} {setting.value}  ({setting.reason})"
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::", "") else settings.host  # noqa: S104
    host = f"[{host}]" if ":" in host else host
    body = {"model": launched.service.name, "prompt": "The capital of France is", "max_tokens": 16}
    key = "-H 'Authorization: Bearer YOUR_KEY' " if settings.api_key else ""
    yield f"Ready in {seconds:.1f} s; Ctrl-C stops."
    yield f"  HTTP      http://{host}:{http_port}"
    yield f"  gRPC      {host}:{grpc_port}"
    yield "Try:"
    yield (
        f"  curl http://{host}:{http_port}/v1/completions -H 'Content-Type: application/json' {key}"
        f"-d '{json.dumps(body)}'"
    )
