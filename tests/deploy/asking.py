"""Asking replicas without a cluster: what Serve does between a client and them, in this process."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.deploy.router import LostReplicaError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable

    from starlette.types import ASGIApp, Message

    from engine.deploy.replica import GrpcRequest, HttpRequest, Replica


@dataclass
class Context:
    """What Serve gives to a method instead of gRPC's context."""

    metadata: tuple[tuple[str, str], ...] = ()
    code: Any = None
    details: str = ""
    trailing: list[Any] = field(default_factory=list)

    def peer(self) -> str:
        return "ipv4:127.0.0.1:50312"

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self.metadata

    def set_code(self, code: Any) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details

    def set_trailing_metadata(self, metadata: list[Any]) -> None:
        self.trailing = metadata


class Said:
    """What a replica says, until it dies."""

    def __init__(self, answers: AsyncIterator[bytes], dies_after: int | None) -> None:
        self._answers, self._left = answers, dies_after
        self.is_cancelled = False

    def __aiter__(self) -> Said:
        return self

    async def __anext__(self) -> bytes:
        if self._left is not None:
            if self._left == 0:
                raise LostReplicaError("it was killed")
            self._left -= 1
        return await anext(self._answers)

    def cancel(self) -> None:
        self.is_cancelled = True


class Handle:
    """Replicas that are one, each with a life of its own.

    Args:
        replica: The one.
        *lives: After how many messages the replica dies that is asked first, second and so on; others live.
    """

    def __init__(self, replica: Replica, *lives: int) -> None:
        self._replica, self._lives = replica, list(lives)
        self.asked: list[HttpRequest | GrpcRequest] = []
        self.said: list[Said] = []

    def http(self, request: HttpRequest) -> Said:
        return self._answer(self._replica.http, request)

    def grpc(self, request: GrpcRequest) -> Said:
        return self._answer(self._replica.grpc, request)

    def _answer(self, method: Callable[[Any], AsyncIterator[bytes]], request: Any) -> Said:
        self.asked.append(request)
        handed_on = pickle.loads(pickle.dumps(request))  # noqa: S301 - as it is on a cluster
        self.said.append(Said(method(handed_on), self._lives.pop(0) if self._lives else None))
        return self.said[-1]


async def ask(
    app: ASGIApp, path: str, body: Any = None, *, method: str | None = None, key: str | None = None
) -> tuple[int, bytes]:
    """Return the status and the body of an answer over HTTP."""
    head, *rest = [message async for message in messages(app, path, body, method=method, key=key)]
    return head["status"], b"".join(message.get("body", b"") for message in rest)


async def messages(
    app: ASGIApp,
    path: str,
    body: Any = None,
    *,
    method: str | None = None,
    key: str | None = None,
    more: Iterable[tuple[bytes, bytes]] = (),
) -> AsyncGenerator[Message]:
    """Yield the messages of an answer."""
    from engine.deploy import http_calls

    content = b"" if body is None else json.dumps(body).encode()
    headers = [*more, (b"host", b"localhost"), (b"content-type", b"application/json")]
    headers.append((b"content-length", str(len(content)).encode()))
    headers += [] if key is None else [(b"authorization", f"Bearer {key}".encode())]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method or ("GET" if body is None else "POST"),
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 50312),
        "server": ("127.0.0.1", 8000),
    }
    async for batch in http_calls.answers(app, scope, content):
        for message in batch:
            yield message
