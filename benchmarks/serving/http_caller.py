"""A thin client of server-sent events, on asyncio's streams.

The client shares the processors with the server that it measures: httpx2 took three times the processor time
for each event, 0.2 ms on the machine of docs/performance.md. Each request has a connection of its own.
"""

from __future__ import annotations

import asyncio
import json
from time import perf_counter
from typing import TYPE_CHECKING, Any

from benchmarks.serving.reply import CallError, Piece

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.serving.reply import Reply

_DONE = b"[DONE]"
_MOST_OF_AN_ERROR = 2048  # bytes


class HttpCaller:
    """``POST /v1/completions`` with ``stream``.

    Args:
        host: Address of the server.
        port: Port of the server.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port

    async def call(self, fields: dict[str, Any], reply: Reply) -> None:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(self._request(fields))
            await _check_head(reader)
            async for payload in _payloads(reader):
                if payload == _DONE:
                    return
                reply.arrivals.append((perf_counter(), payload))
            raise CallError("the stream ended before it was done")
        except EOFError:
            raise CallError("the connection ended before the stream") from None
        finally:
            writer.close()

    def piece(self, payload: bytes) -> Piece:
        event = json.loads(payload)
        if "error" in event:
            return Piece(is_text=False, error=json.dumps(event["error"]))
        usage = event.get("usage") or {}
        choices = event.get("choices") or []
        return Piece(
            is_text=any(choice["text"] or choice.get("logprobs") for choice in choices),
            at_length=any(choice.get("finish_reason") == "length" for choice in choices),
            completion_tokens=usage.get("completion_tokens"),
        )

    async def close(self) -> None:
        """Nothing stays open between requests."""

    def _request(self, fields: dict[str, Any]) -> bytes:
        body = json.dumps({**fields, "stream": True, "stream_options": {"include_usage": True}}).encode()
        head = (
            f"POST /v1/completions HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


async def _check_head(reader: asyncio.StreamReader) -> None:
    """Read the head of the response; refuse any but a chunked one of status 200."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status = head.partition("\r\n")[0]
    if status.split()[1] != "200" or "transfer-encoding: chunked" not in head:
        body = await reader.read(_MOST_OF_AN_ERROR)
        raise CallError(f"{status} {body.decode(errors='replace')}")


async def _payloads(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Yield what follows ``data:`` on each line of a chunked body."""
    rest = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        chunk = await reader.readexactly(size + 2)
        *lines, rest = (rest + chunk[:-2]).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()
