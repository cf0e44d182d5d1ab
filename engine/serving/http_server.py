"""uvicorn with an end for slow clients, renewed certificates and keys, and time to finish after a signal."""

from __future__ import annotations

import asyncio
import math
import socket
import threading
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
    from engine.serving.auth import ApiKeys
    from engine.serving.tls import Certificate

GRACE_SECONDS = 20.0
_FAREWELL_SECONDS = 2.0  # for the last answers to be sent
_LAST_WORDS_SECONDS = 0.5  # the same after a second signal
_TICK_SECONDS = 0.05
_TICKS_A_SECOND = 10  # of uvicorn's own loop


class HttpServer(uvicorn.Server):
    """uvicorn without its habit of raising the signal again, which would skip everybody else's clean-up.

    After a signal, the server refuses new requests with 503. Running requests have ``grace`` seconds to end,
    and then get an error. uvicorn alone would close their connections, and sse-starlette would cut every
    stream at once. What is generated has the rest of the grace, or two seconds, to reach clients that read
    slowly. A second signal takes this time away: what runs gets its error at once.

    Args:
        app: The ASGI application.
        service: The service behind it, which a signal closes.
        grace: Seconds that what runs has after a signal.
        limits: What clients may take of the server.
        certificate: For TLS; None serves plain HTTP.
        keys: Keys whose file may change.
    """

    def __init__(
        self,
        app: ASGIApp,
        service: CompletionService | None = None,
        *,
        grace: float = GRACE_SECONDS,
        limits: ConnectionLimits = ConnectionLimits(),  # noqa: B008 - frozen
        certificate: Certificate | None = None,
        keys: ApiKeys | None = None,
    ) -> None:
        self._service, self._grace, self._certificate = service, grace, certificate
        self._keys = keys
        self._leaving: asyncio.Task[None] | None = None
        self._is_hurried = asyncio.Event()
        self._ends_at = 0.0
        self.is_stuck = False
        """Whether the model was in the middle of a step when the time was over, and is not closed."""
        arrivals = Arrivals(service.has_room if service is not None else lambda _waiting: True)
        config = uvicorn.Config(
            app,
            http=partial(Connection, limits=limits, arrivals=arrivals),  # type: ignore[arg-type]  # it is called
            ws="none",
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=int(_FAREWELL_SECONDS),
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
        """Look after connections, certificate and keys; uvicorn calls this ten times a second."""
        if counter % _TICKS_A_SECOND == 0:
            now = time.monotonic()
            for connection in list(self.server_state.connections):
                if isinstance(connection, Connection):
                    connection.check(now)
            if self._certificate is not None:
                self._certificate.refresh()
            if self._keys is not None:
                self._keys.refresh()
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._service is None:
            super().handle_exit(sig, frame)
        elif self._leaving is None:
            self._ends_at = time.monotonic() + self._grace
            self._leaving = asyncio.get_running_loop().create_task(self._leave(self._service))
        else:
            self._is_hurried.set()
            self._ends_at = time.monotonic() + _LAST_WORDS_SECONDS
            self.force_exit = self.should_exit

    @property
    def seconds_left(self) -> float:
        """Seconds in which the last answers must have been sent, after a signal."""
        return max(self._ends_at - time.monotonic(), _LAST_WORDS_SECONDS)

    async def _leave(self, service: CompletionService) -> None:
        service.drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._grace):
                while service.snapshot().requests_unfinished and not self._is_hurried.is_set():  # noqa: ASYNC110
                    await asyncio.sleep(_TICK_SECONDS)  # the engine gives no sign but this one
        self.is_stuck = not await self._close(service)
        if not self._is_hurried.is_set():
            self._ends_at = max(self._ends_at, time.monotonic() + _FAREWELL_SECONDS)
        self.config.timeout_graceful_shutdown = math.ceil(self.seconds_left)
        self.should_exit = True

    async def _close(self, service: CompletionService) -> bool:
        """Close the service, which waits for the step under way; return False if a second signal came first.

        A thread of its own, and none of the event loop's: the end of the loop waits for those.
        """
        loop, closed = asyncio.get_running_loop(), asyncio.Event()

        def close() -> None:
            service.close()
            loop.call_soon_threadsafe(closed.set)

        threading.Thread(target=close, name="nucleus-close", daemon=True).start()
        closing = asyncio.create_task(closed.wait())
        hurrying = asyncio.create_task(self._is_hurried.wait())
        await asyncio.wait((closing, hurrying), return_when=asyncio.FIRST_COMPLETED)
        hurrying.cancel()
        with suppress(TimeoutError):
            await asyncio.wait_for(closing, _LAST_WORDS_SECONDS)
        return closed.is_set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to whoever calls :meth:`handle_exit`."""
        yield
