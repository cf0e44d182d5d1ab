"""Requests over HTTP that no server brings: the messages of an ASGI application's answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import ASGIApp, Message, Scope

_FAREWELL_SECONDS = 1.0
_CARRIED = (
    "type",
    "asgi",
    "http_version",
    "method",
    "scheme",
    "path",
    "raw_path",
    "query_string",
    "root_path",
    "headers",
    "client",
    "server",
)


def carried(scope: Scope) -> dict[str, Any]:
    """Return the part of a scope that another process can read."""
    return {name: scope[name] for name in _CARRIED if name in scope}


async def answers(app: ASGIApp, scope: Scope, body: bytes) -> AsyncGenerator[list[Message]]:
    """Yield the messages of an answer, as many at once as there are; closing it is the client's leaving."""
    said: asyncio.Queue[Message | None] = asyncio.Queue()
    is_gone, parts = asyncio.Event(), [body]

    async def receive() -> Message:
        if parts:
            return {"type": "http.request", "body": parts.pop(), "more_body": False}
        await is_gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        said.put_nowait(message)

    async def run() -> None:
        try:
            await app(scope, receive, send)
        finally:
            said.put_nowait(None)

    task = asyncio.ensure_future(run())
    try:
        while (message := await said.get()) is not None:
            messages = [message]
            while not said.empty() and (message := said.get_nowait()) is not None:
                messages.append(message)
            yield messages
            if message is None:
                break
        await task
    finally:
        is_gone.set()
        await asyncio.wait((task,), timeout=_FAREWELL_SECONDS)
        task.cancel()
