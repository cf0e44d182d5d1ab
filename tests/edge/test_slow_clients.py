"""Clients that send slowly, do not read, or are too many lose their own connection, and nobody else's."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from engine.serving.connection import Connection, ConnectionLimits
from tests.edge.servers import ASK, PATH, Served, error_of, post, served, status_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LIMITS = ConnectionLimits(max_connections=4)
JSON = "Content-Type: application/json"


@pytest.fixture
async def door() -> AsyncIterator[Served]:
    async with served(limits=LIMITS) as door:
        yield door


class Client:
    """A client that is slow on purpose."""

    def __init__(self, door: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        (connection,) = door.server.server_state.connections
        assert isinstance(connection, Connection)
        self.connection: Connection = connection

    @classmethod
    @asynccontextmanager
    async def of(
        cls, door: Served, sent: bytes = b"", sock: socket.socket | None = None
    ) -> AsyncIterator[Client]:
        place = {"host": "127.0.0.1", "port": door.port} if sock is None else {"sock": sock}
        reader, writer = await asyncio.open_connection(**place)
        while not door.server.server_state.connections:  # noqa: ASYNC110 - accepting gives no sign but this one
            await asyncio.sleep(0)
        client = cls(door, reader, writer)
        if sent:
            await client.send(sent)
        yield client
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async def send(self, data: bytes) -> None:
        """Send bytes, and wait until the server has them."""
        received = asyncio.Event()
        feed = self.connection.data_received

        def watched(piece: bytes) -> None:
            feed(piece)
            received.set()

        self.connection.data_received = watched  # type: ignore[method-assign, assignment]
        self.writer.write(data)
        await received.wait()

    def after(self, seconds: float) -> None:
        """Let the server look at the connection as it would so many seconds from now."""
        self.connection.check(monotonic() + seconds)

    @property
    def is_cut(self) -> bool:
        return self.connection.transport.is_closing()


@pytest.mark.parametrize(
    "sent", [b"", b"POST /v1/comp", b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"]
)
async def test_headers_that_do_not_come_end_the_connection(door: Served, sent: bytes) -> None:
    async with Client.of(door, sent) as client:
        client.after(LIMITS.head_seconds - 1)
        assert not client.is_cut
        client.after(LIMITS.head_seconds + 1)
        answer = await client.reader.read()
        assert (status_of(answer), error_of(answer)["code"]) == (408, "request_timeout")


async def test_headers_that_trickle_end_as_if_they_stopped(door: Served) -> None:
    async with Client.of(door, b"POST /v1/completions HTTP/1.1\r\n") as client:
        for second in range(int(LIMITS.head_seconds)):
            await client.send(b"X-%d: 1\r\n" % second)
            client.after(second)
        assert not client.is_cut
        client.after(LIMITS.head_seconds + 1)
        assert status_of(await client.reader.read()) == 408


async def test_a_body_that_stops_ends_the_connection_and_one_that_flows_does_not(door: Served) -> None:
    request = post(b" " * 100_000, JSON)
    async with Client.of(door, request[:1000]) as client:
        earned = 10_000 / LIMITS.body_bytes_per_second
        await client.send(request[1000:11_000])
        client.after(LIMITS.body_seconds + earned - 1)
        assert not client.is_cut
        client.after(LIMITS.body_seconds + earned + 10)
        answer = await client.reader.read()
        assert (status_of(answer), error_of(answer)["code"]) == (408, "request_timeout")


async def test_a_second_request_that_waits_for_the_first_is_not_late(door: Served) -> None:
    door.backend.hold()
    async with Client.of(door, post(ASK, JSON).replace(b"Connection: close", b"X: 1")) as client:
        await door.backend.next_decode()
        await client.send(post(ASK, JSON)[:-10])
        client.after(1000)
        assert not client.is_cut
        door.backend.open_gate()
        await client.send(post(ASK, JSON)[-10:])
        answers = await client.reader.read()
        assert answers.count(b"HTTP/1.1 200") == 2


async def test_an_idle_connection_between_requests_is_not_late(door: Served) -> None:
    async with Client.of(door, post(ASK, JSON).replace(b"Connection: close", b"X: 1")) as client:
        assert status_of(await client.reader.readuntil(b"}}")) == 200
        client.after(1000)
        assert not client.is_cut, "the keep-alive limit is another one"


async def test_an_answer_that_nobody_reads_ends_the_connection(door: Served) -> None:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", door.port))
    async with Client.of(door, sock=sock) as client:
        accepted = client.connection.transport.get_extra_info("socket")
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(post({"tokens": [5] * 300_000}, JSON, path="/detokenize"))
        while not client.connection.transport.get_write_buffer_size():  # noqa: ASYNC110 - nothing else says it
            await asyncio.sleep(0)
        client.after(0)
        client.after(LIMITS.stall_seconds - 1)
        assert client.connection in door.server.server_state.connections
        client.after(LIMITS.stall_seconds + 1)
        while door.server.server_state.connections:  # noqa: ASYNC110 - it would be there for ever
            await asyncio.sleep(0)


async def test_a_connection_too_many_is_refused_and_the_others_go_on(door: Served) -> None:
    door.backend.hold()
    first = asyncio.create_task(door.client.post(PATH, json=ASK))
    await door.backend.next_decode()
    idle = [await asyncio.open_connection("127.0.0.1", door.port) for _ in range(LIMITS.max_connections - 1)]
    while len(door.server.server_state.connections) < LIMITS.max_connections:  # noqa: ASYNC110
        await asyncio.sleep(0)
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    answer = await reader.read()
    assert (status_of(answer), error_of(answer)["code"]) == (503, "too_many_connections")
    assert b"retry-after: 1\r\n" in answer
    door.backend.open_gate()
    assert (await first).status_code == 200
    for _, other in [*idle, (reader, writer)]:
        other.close()


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/9.9\r\n\r\n", b"\0" * 100, b"nonsense\r\n\r\n"]
)
async def test_what_is_not_http_gets_an_error_in_the_form_of_the_contract(door: Served, sent: bytes) -> None:
    answer = await door.raw(sent)
    assert (status_of(answer), error_of(answer)["type"]) == (400, "invalid_request_error")


CHUNKED = b"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + f"{JSON}\r\n\r\n".encode()


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"GET /" + b"a" * 2000, id="a target"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"a" * 2000, id="a header"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 400, id="headers"),
        pytest.param(CHUNKED + b"1;" + b"a" * 2000, id="an extension of a chunk"),
        pytest.param(CHUNKED + b"1\r\n{\r\n0\r\n" + b"X: a\r\n" * 400, id="headers behind the body"),
    ],
)
async def test_what_is_not_the_body_has_a_limit(sent: bytes) -> None:
    """It is kept before anybody asks for a key, and the limit of bodies does not count it."""
    async with served(limits=ConnectionLimits(head_bytes=1000)) as small:
        answer = await small.raw(sent)
        assert (status_of(answer), error_of(answer)["code"]) == (413, "request_too_large")
        body = b"".join(b"1\r\n%c\r\n" % byte for byte in json.dumps(ASK).encode() + b" " * 2000)
        ending = CHUNKED.replace(b"Transfer", b"Connection: close\r\nTransfer") + body + b"0\r\n\r\n"
        assert status_of(await small.raw(ending)) == 200, "a body in the smallest of chunks"


@pytest.mark.parametrize("declared", [True, False])
async def test_a_client_that_sends_too_much_can_read_why(declared: bool) -> None:
    """Without reading on, the server's close would reset the connection before the answer is read."""
    size = 6 << 20

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(size >> 16):
            yield b" " * (1 << 16)

    async with served(max_body_bytes=1 << 20) as small:
        content = b" " * size if declared else pieces()
        answer = await small.client.post(PATH, content=content, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
        assert answer.headers["connection"] == "close"
        refused = await small.client.post("/nowhere", content=b" " * size)
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")


async def test_a_client_that_waits_for_a_sign_need_not_send_what_is_too_much() -> None:
    async with served(max_body_bytes=1000) as small:
        reader, writer = await asyncio.open_connection("127.0.0.1", small.port)
        head = post(b"", JSON, "Expect: 100-continue").replace(b"Content-Length: 0", b"Content-Length: 1001")
        writer.write(head)
        assert status_of(await reader.readuntil(b"\r\n\r\n")) == 413
        writer.close()
