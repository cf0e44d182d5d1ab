"""What every HTTP request passes before its route: who may ask. Then its id, its log line and its errors."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from fastapi.responses import JSONResponse

from engine.errors import EngineError, InternalError, QueueFullError, UnavailableError
from engine.service.record import RequestRecord, current_record, note_error
from engine.serving.access import CLIENT_GONE, Access
from engine.serving.exchange import CHAT_PATH, COMPLETIONS_PATH, IS_REFUSED, request_id, wants_detail

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from starlette.applications import Starlette
    from starlette.routing import BaseRoute
    from starlette.types import Message, Receive, Scope, Send

    from engine.serving.access_log import AccessLog
    from engine.serving.auth import ApiKeys
    from engine.serving.origins import OriginPolicy

log = logging.getLogger("nucleus.http")


@dataclass(frozen=True, slots=True)
class Lingering:
    """How much of a body that nobody wants is still read, so that the client comes to read the answer.

    A connection that is closed with bytes unread is reset, and the answer is lost with it. nginx has the same
    two limits, as ``lingering_time`` and ``lingering_timeout``, and none on bytes.
    """

    max_bytes: int = 64 << 20
    max_seconds: float = 5.0


def answer_of(error: EngineError) -> JSONResponse:
    """Return the response that reports an error, which the access log names, too."""
    note_error(error)
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    if error.http_status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.http_status == 503:
        headers["Connection"] = "close"  # the next try may reach another server, if a proxy has several
    if error.http_status == 415:
        headers |= {"Accept": "application/json", "Accept-Encoding": "identity"}
    return JSONResponse(error.body(), error.http_status, headers)


class Gate:
    """Handles every request first: checks who asks, and turns any exception into an answer.

    It guards every path that is not open by name, so that a route added later is guarded too.

    Args:
        app: The routes.
        keys: The keys of which a request needs one, if there are any.
        origins: Which hosts and pages may ask if there are none; None lets all.
        open_paths: The paths that need neither.
        lingering: What is read of a request that is refused.
        access_log: Writes about each request when it has ended.
        refuse: Is told why a request for an answer was refused.
    """

    def __init__(
        self,
        app: Starlette,
        keys: ApiKeys,
        origins: OriginPolicy | None,
        *,
        open_paths: Collection[str],
        lingering: Lingering,
        access_log: AccessLog,
        refuse: Callable[[EngineError], None],
    ) -> None:
        self._app = app
        self._keys = keys
        self._origins = origins
        self._open_paths = open_paths
        self._lingering = lingering
        self._access_log = access_log
        self._refuse = refuse

    @property
    def routes(self) -> Sequence[BaseRoute]:
        """All routes behind the gate."""
        return self._app.routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # there are no other routes, and uvicorn answers that itself
        exchange = _Exchange(scope, receive, send, self._lingering)
        current_record.set(exchange.access.record)
        try:
            self._check(exchange)
            # A route for GET answers HEAD too; the server leaves the body out.
            is_head = scope["method"] == "HEAD"
            routed = {**scope, "method": "GET"} if is_head else scope
            await self._app(routed, exchange.receive, exchange.send)
        except asyncio.CancelledError:  # the server ends, and has waited long enough
            if not exchange.access.status:
                exchange.stop_reading()
                told = UnavailableError("The server is shutting down.")
                await answer_of(told)(scope, exchange.receive, exchange.send)
        except EngineError as error:
            if scope["path"] in (COMPLETIONS_PATH, CHAT_PATH):
                self._refuse(error)
            await answer_of(error)(scope, exchange.receive, exchange.send)
        except Exception as error:
            log.exception("request %s failed", exchange.access.request_id)
            if exchange.access.is_answered:
                return
            if exchange.access.status:
                raise
            await answer_of(InternalError.of(error))(scope, exchange.receive, exchange.send)
        finally:
            self._access_log.write(exchange.ended())

    def _check(self, exchange: _Exchange) -> None:
        # The detail that a path tells if it is asked is for those who have a key.
        if exchange.scope["path"] in self._open_paths and not wants_detail(exchange.scope):
            return
        if not self._keys.is_empty:
            self._keys.check(exchange.header(b"authorization"))
        elif self._origins is not None:
            self._origins.check(exchange.headers(b"host"), exchange.header(b"origin"))
        if exchange.scope.get("state", {}).get(IS_REFUSED):
            raise QueueFullError("As many requests as this server takes wait or run already.")


class _Exchange:
    """One request and its answer, on the wire that uvicorn holds."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, lingering: Lingering) -> None:
        self.scope = scope
        self.access = Access(
            scope["method"],
            scope["path"],
            client=(scope["client"] or ("local",))[0],
            request_id=request_id(self.header(b"x-request-id")),
            record=RequestRecord("http"),
            headers=self._texts,
        )
        self._receive, self._send = receive, send
        self._lingering = lingering
        self._is_read = self.header(b"content-length") in (None, "0") and not self.headers(
            b"transfer-encoding"
        )

    def headers(self, name: bytes) -> list[str]:
        """Return the values of all headers of a name."""
        return [value.decode("latin-1") for key, value in self.scope["headers"] if key == name]

    def header(self, name: bytes) -> str | None:
        """Return the last of them."""
        return next(reversed(self.headers(name)), None)

    def _texts(self) -> Iterator[tuple[str, str]]:
        for name, value in self.scope["headers"]:
            yield name.decode("latin-1"), value.decode("latin-1")

    async def receive(self) -> Message:
        message = await self._receive()
        self._is_read = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.access.status = message["status"]
            spent = f"{(monotonic() - self.access.began) * 1e3:.0f}"
            message["headers"] = [
                *message["headers"],
                (b"x-request-id", self.access.request_id.encode("latin-1")),
                (b"openai-processing-ms", spent.encode()),
                *([] if self._is_read else [(b"connection", b"close")]),
            ]
        elif not self._is_read and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body"}
        await self._send(message)
        is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
        self.access.is_answered = is_last

    def stop_reading(self) -> None:
        """Do not wait for the rest of the body."""
        self._is_read = True

    def ended(self) -> Access:
        """Return what became of it."""
        self.access.status = self.access.status or CLIENT_GONE
        return self.access

    async def _linger(self) -> None:
        """Read on, within limits, what the client still sends."""
        n_bytes = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(self._lingering.max_seconds):
                while not self._is_read and n_bytes < self._lingering.max_bytes:
                    n_bytes += len((await self.receive()).get("body", b""))
