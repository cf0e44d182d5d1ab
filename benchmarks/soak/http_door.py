"""The HTTP door on asyncio's streams: a connection for each request, which closes where the client leaves."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from benchmarks.soak.part import Part, RefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from benchmarks.soak.request import Request

_EVENT = b"data: "
_DONE = b"[DONE]"


class HttpDoor:
    """``POST /v1/completions``, streamed or not.

    Args:
        host: Address of the server.
        port: Port of the server.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port

    async def ask(self, request: Request) -> AsyncGenerator[Part, None]:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(self._message(request))
            await _check_status(reader)
            if not request.streams:
                yield _part(json.loads(await reader.read()))
                return
            # Each event is one piece of a chunked body, so the sizes in between are lines of their own.
            async for line in reader:
                if line.rstrip() == _EVENT + _DONE:
                    return
                if line.startswith(_EVENT):
                    yield _part(json.loads(line.removeprefix(_EVENT)))
            raise EOFError("the stream ended before it was done")
        finally:
            writer.close()

    async def close(self) -> None:
        """Nothing stays open between requests."""

    def _message(self, request: Request) -> bytes:
        fields = dict(request.fields)
        if request.streams:
            fields |= {"stream": True, "stream_options": {"include_usage": True}}
        body = json.dumps(fields).encode()
        head = (
            f"POST /v1/completions HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


async def _check_status(reader: asyncio.StreamReader) -> None:
    """Read the head of the response; read all of it where its status is not 200."""
    head = await reader.readuntil(b"\r\n\r\n")
    status = head.split(maxsplit=2)[1].decode()
    if status != "200":
        raise RefusedError(status, (await reader.read()).decode(), blames_request=status == "400")


def _part(body: dict[str, Any]) -> Part:
    if "error" in body:
        raise RefusedError("200", json.dumps(body), blames_request=False)
    ended = {
        choice["index"]: choice["finish_reason"] for choice in body["choices"] if choice["finish_reason"]
    }
    usage = body.get("usage")
    return Part(ended, usage and usage["completion_tokens"])
