"""A way to a server on which connections meet bad weather."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from benchmarks.servers import HOST

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

    from tests.chaos.trouble import Trouble, Weather

Sleep = Callable[[float], Awaitable[object]]

_READ_BYTES = 1 << 16
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class _CutError(Exception):
    """The connection is to be cut."""


class Proxy:
    """Listens on a port of its own, and carries every connection to the server's.

    Args:
        port: The server's.
        weather: What befalls the connections.
        sleep: Waits so many seconds.
    """

    def __init__(self, port: int, weather: Weather, sleep: Sleep = asyncio.sleep) -> None:
        self._target, self.weather, self._sleep = port, weather, sleep
        self._carrying: set[asyncio.Task[None]] = set()
        self.port = 0
        self.cuts = 0
        """Connections that were cut."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._carrying:
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)
        await self._server.wait_closed()

    def next_target(self) -> int:
        """Return the port that the next connection is carried to."""
        return self._target

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)

    async def _carry(self, client_reader: StreamReader, client_writer: StreamWriter) -> None:
        """Carry one connection until both sides have ended it, or it is cut."""
        writers = [client_writer]
        try:
            server_reader, server_writer = await asyncio.open_connection(HOST, self.next_target())
            writers.append(server_writer)
            async with asyncio.timeout(self.weather.cut_seconds), asyncio.TaskGroup() as group:
                group.create_task(self._pump(client_reader, server_writer, self.weather.up))
                group.create_task(self._pump(server_reader, client_writer, self.weather.down))
        except* (_CutError, TimeoutError):
            self.cuts += 1
            if self.weather.is_reset:
                _reset(writers)
        finally:
            for writer in writers:
                writer.close()

    async def _pump(self, reader: StreamReader, writer: StreamWriter, trouble: Trouble) -> None:
        """Pass bytes on as the trouble has it, until one side is gone; the other direction goes on.

        Raises:
            _CutError: it is time.
        """
        with suppress(OSError):
            passed, waiting = 0, b""
            while passed != trouble.cut_after:
                waiting = waiting or await _read(reader)
                if not waiting:
                    writer.write_eof()
                    return
                if passed == trouble.stall_after:
                    await self._sleep(trouble.stall_seconds)
                if trouble.pause:
                    await self._sleep(trouble.pause)
                size = trouble.size(passed, len(waiting))
                writer.write(waiting[:size])
                await writer.drain()
                passed, waiting = passed + size, waiting[size:]
            raise _CutError


async def _read(reader: StreamReader) -> bytes:
    """Return some bytes; none when the other side has closed or broken off the connection."""
    with suppress(OSError):
        return await reader.read(_READ_BYTES)
    return b""


def _reset(writers: list[StreamWriter]) -> None:
    """Break connections off as a crash does, so that both sides read a reset."""
    for writer in writers:
        if not writer.transport.is_closing():
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            writer.transport.abort()
