"""One HTTP connection: uvicorn's protocol, with an end for clients that are slow, absent or too many."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from engine.errors import (
    EngineError,
    InvalidRequestError,
    RequestTooLargeError,
    SlowRequestError,
    TooManyConnectionsError,
)
from engine.serving.exchange import CHAT_PATH, COMPLETIONS_PATH, IS_REFUSED, N_CONNECTIONS

if TYPE_CHECKING:
    import asyncio

    from engine.serving.arrivals import Arrivals

_MOST_FRAMING = 16
"""Bytes of framing that one byte of a body may have; a chunk of one byte needs five."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What a client may take of the server before it is answered, and while it reads the answer.

    Apache's mod_reqtimeout has the same rule for requests: some seconds, and one more for so many bytes.
    """

    max_connections: int = 8192
    """More are answered with 503, and closed."""
    head_seconds: float = 20.0
    """For the first byte of a request until the last one of its headers."""
    head_bytes: int = 64 << 10
    """Bytes of a request that are not its body: headers, sizes of chunks, what follows the last chunk.

    A read more may come before it is noticed, and a chunk may need a few bytes for each byte of body.
    """
    body_seconds: float = 20.0
    """For a body, besides what its bytes earn."""
    body_bytes_per_second: int = 500
    """Bytes of a body that earn another second."""
    stall_seconds: float = 30.0
    """In which a client that has an answer to read must read some of it."""


class Connection(HttpToolsProtocol):
    """A connection that :meth:`check` closes when its client takes too long.

    ``check`` is called for all connections about once a second, which is cheaper than timers for each read.
    """

    def __init__(self, *args: Any, limits: ConnectionLimits, arrivals: Arrivals, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._arrivals = arrivals
        self._head_since: float | None = None
        """When the client began to owe the headers of a request; None while it owes none."""
        self._body_since: float | None = None
        """When it began to owe a body; None while it owes none."""
        self._body_bytes = 0
        self._other_bytes = 0
        """Bytes of the request that are not its body."""
        self._unread_bytes = 0
        """Bytes of answers that the client had not read when this was last looked at."""
        self._unread_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_since = self._unread_since = monotonic()
        if len(self.connections) > self._limits.max_connections:
            limit = f"{self._limits.max_connections} connections are open, the limit."
            self._refuse(TooManyConnectionsError(limit))

    def data_received(self, data: bytes) -> None:
        self._other_bytes += len(data)
        super().data_received(data)
        most = self._limits.head_bytes + _MOST_FRAMING * self._body_bytes
        if self._other_bytes > most and not self.transport.is_closing():
            limit = f"The headers should have at most {self._limits.head_bytes} bytes"
            self._refuse(RequestTooLargeError(f"{limit}, not {self._other_bytes} or more."))

    def check(self, now: float) -> None:
        """Close the connection if its client is too slow at this time of ``monotonic``."""
        if not self.transport.is_closing():
            self._check_request(now)
        self._check_reading(now)

    def _check_request(self, now: float) -> None:
        limits = self._limits
        if self.flow.read_paused:  # it is the server that does not read
            self._head_since = self._head_since and now
            self._body_since = self._body_since and now
        elif self._head_since is not None and now - self._head_since > limits.head_seconds:
            self._refuse(SlowRequestError(f"The headers should come within {limits.head_seconds:g} s."))
        elif self._body_since is not None:
            earned = self._body_bytes / limits.body_bytes_per_second
            if now - self._body_since > limits.body_seconds + earned:
                rule = (
                    f"{limits.body_seconds:g} s and a second for every {limits.body_bytes_per_second} bytes"
                )
                self._refuse(SlowRequestError(f"The body should come within {rule}."))

    def _check_reading(self, now: float) -> None:
        unread = self.transport.get_write_buffer_size()
        if unread == 0 or unread < self._unread_bytes:
            self._unread_since = now
        self._unread_bytes = unread
        if now - self._unread_since > self._limits.stall_seconds:
            self.transport.abort()

    def resume_writing(self) -> None:
        self._unread_since = monotonic()
        super().resume_writing()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_since = self._head_since or monotonic()

    def on_headers_complete(self) -> None:
        self._head_since, self._body_since, self._body_bytes = None, monotonic(), 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        self._other_bytes -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._body_since, self._other_bytes = None, 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(InvalidRequestError(msg))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Begin what is cheap at once, and anything else in its turn."""
        start = partial(super()._start_asgi_task, cycle, app)
        cycle.scope["state"][N_CONNECTIONS] = len(self.connections)
        if cycle.scope["path"] not in (COMPLETIONS_PATH, CHAT_PATH):
            start()
            return

        def refuse() -> None:
            cycle.scope["state"][IS_REFUSED] = True
            start()

        self._arrivals.add(start, refuse)

    def _refuse(self, error: EngineError) -> None:
        """Answer with an error unless an answer has begun, and close the connection."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete or not cycle.response_started:
            body = json.dumps(error.body()).encode()
            retry = b"" if error.retry_after is None else b"retry-after: %d\r\n" % error.retry_after
            head = b"content-type: application/json\r\ncontent-length: %d\r\n%sconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[error.http_status] + head % (len(body), retry) + body)
        self.transport.close()
