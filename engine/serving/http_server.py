"""uvicorn with an end for slow clients, renewed certificates, and time to finish after a signal."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import uvicorn

from engine.serving.arrivals import Arrivals
from engine.serving.connection import Connection, ConnectionLimits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from starlette.types import ASGIApp

    from engine.service.service import CompletionService
    from engine.serving.tls import Certificate

GRACE_SECONDS = 20.0
_FAREWELL_SECONDS = 2  # for the last answers to be sent
_TICK_SECONDS = 0.05
_TICKS_A_SECOND = 10  # of uvicorn's own loop


class HttpServer(uvicorn.Server):
    """uvicorn without its habit of raising the signal again, which would skip everybody else's clean-up.

    After a signal, the server refuses new requests with 503. Running requests have ``grace`` seconds to end,
    and then get an error. uvicorn alone would close their connections, and sse-starlette would cut every
    stream at once. A second signal stops the server without waiting.

    Args:
        app: The ASGI application.
        service: The service behind it, which a signal closes.
        grace: Seconds that what runs has after a signal.
        limits: What clients may take of the server.
        certificate: For TLS; None serves plain HTTP.
    """

    def __init__(
        self,
        app: ASGIApp,
        service: CompletionService | None = None,
        *,
        grace: float = GRACE_SECONDS,
        limits: ConnectionLimits = ConnectionLimits(),  # noqa: B008 - frozen
        certificate: Certificate | None = None,
    ) -> None:
        self._service, self._grace, self._certificate = service, grace, certificate
        self._leaving: asyncio.Task[None] | None = None
        arrivals = Arrivals(service.has_room if service is not None else lambda _waiting: True)
        config = uvicorn.Config(
            app,
            http=partial(Connection, limits=limits, arrivals=arrivals),  # type: ignore[arg-type]  # it is called
            ws="none",
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=_FAREWELL_SECONDS,
        )
        config.load()
        config.ssl = None if certificate is None else certificate.context
        super().__init__(config)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        # Connections inherit it. Without it a body waits until the client has acknowledged the head, 40 ms;
        # asyncio (unlike uvloop) sets it only on sockets made for TCP by name, as create_server's are not.
        for listening in sockets or ():
            if listening.family != socket.AF_UNIX:
                listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await super().serve(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Look after connections and the certificate; uvicorn calls this ten times a second."""
        if counter % _TICKS_A_SECOND == 0:
            now = time.monotonic()
            for connection in list(self.server_state.connections):
                if isinstance(connection, Connection):
                    connection.check(now)
            if self._certificate is not None:
                self._certificate.refresh()
        return await super().on_tick(counter)

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

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to whoever calls :meth:`handle_exit`."""
        yield
