"""Any bytes on a connection: the server answers or closes, logs no fault of its own, and serves on."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import threading
from logging.handlers import BufferingHandler
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.serving.origins import OriginPolicy
from tests.edge.servers import ASK, PATH, post, served, status_of
from tests.fuzz.bytes_of import BODIES, mutated
from tests.fuzz.effort import examples

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 30.0  # seconds after which an answer will not come; nothing is measured with it
POLITE = post(ASK, "Host: localhost", "Content-Type: application/json")
STATUS_LINE = re.compile(rb"HTTP/1\.1 (\d{3}) ")


class LiveDoor:
    """A door with an event loop of its own, so that a test may block."""

    def __init__(self) -> None:
        self.port = 0
        self.faults = BufferingHandler(1000)
        self.faults.setLevel(logging.ERROR)
        self._is_open, self._may_close = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self) -> None:
        async with served(origins=OriginPolicy.of("127.0.0.1"), max_body_bytes=1 << 14) as door:
            self.port = door.port
            self._is_open.set()
            await asyncio.to_thread(self._may_close.wait)

    def open(self) -> None:
        logging.getLogger().addHandler(self.faults)
        self._thread.start()
        assert self._is_open.wait(PATIENCE)

    def close(self) -> None:
        self._may_close.set()
        self._thread.join()
        logging.getLogger().removeHandler(self.faults)

    def answers_to(self, sent: bytes, *, is_all: bool = True) -> bytes:
        """Send bytes; return all that comes until the server closes the connection."""
        received = bytearray()
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection:
            try:
                connection.sendall(sent)
                if is_all:
                    connection.shutdown(socket.SHUT_WR)
                while piece := connection.recv(1 << 16):
                    received += piece
            except ConnectionError:
                pass  # closed before it had read everything
        return bytes(received)


@pytest.fixture(scope="module")
def door() -> Iterator[LiveDoor]:
    door = LiveDoor()
    door.open()
    yield door
    door.close()


TARGETS = [
    *(
        PATH,
        "/",
        "*",
        "/health",
        "/ready",
        "/metrics",
        "/v1/models",
        "/v1/models/%ff%00",
        "/v1/models/..%2f..",
    ),
    *(
        "/tokenize",
        "/detokenize",
        "/tokenizer_info",
        "/docs",
        "/openapi.json",
        "//health",
        "/health/../metrics",
    ),
    *("http://localhost/health", "http://[/health", "localhost:80", "/\xff", "/%", "/?a=%zz", "/health#", ""),
]
HEADERS = [
    *("Host: localhost", "Host: localhost", "Host:", "Host: evil.example", "Host: [::1]:80", "Host: \xff"),
    *(
        "Content-Type: application/json",
        "Content-Type: application/json",
        "Content-Type: \xff; charset*=a'b'c",
    ),
    *(
        "Content-Length: 0",
        "Content-Length: -1",
        "Content-Length: +5",
        "Content-Length: 99999999999999999999",
    ),
    *("Content-Length: 5, 5", "Content-Length: 100000", "Transfer-Encoding: chunked", "Transfer-Encoding: x"),
    *("Transfer-Encoding: chunked, identity", "Expect: 100-continue", "Expect: nothing", "Connection: close"),
    *(
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    ),
    *("X-Request-Id: \xe9\xff", "X-Request-Id: ", "X-Request-Timeout: 1e-9", "X-Request-Timeout: nan"),
    *("X-Request-Timeout: 1_0", "X-Request-Timeout: \xb2", "Origin: null", "Origin: http://localhost"),
    *("Authorization: Bearer \xff", "Authorization:", "Accept: \xff", " folded: a", "no colon", ": no name"),
    *(
        "Access-Control-Request-Method: POST",
        "Content-Encoding: gzip",
        "Cookie: a=\x01",
        "X: " + "a" * 5_000,
    ),
]
METHODS = [
    "POST",
    "POST",
    "POST",
    "GET",
    "HEAD",
    "OPTIONS",
    "PUT",
    "DELETE",
    "TRACE",
    "CONNECT",
    "PRI",
    "post",
    "\xff",
]


@st.composite
def http_requests(draw: st.DrawFn) -> bytes:
    """Make a request; every part of it may be odd, and its length may be wrong."""
    body = draw(BODIES)
    method, target = draw(st.sampled_from(METHODS)), draw(st.sampled_from(TARGETS))
    headers = draw(st.lists(st.sampled_from(HEADERS), max_size=5))
    if draw(st.booleans()):  # or few would come as far as a route
        method, target = "POST", draw(st.sampled_from([PATH, PATH, "/tokenize", "/detokenize"]))
        headers = ["Host: localhost", "Content-Type: application/json", *headers[:1]]
    framing = draw(st.sampled_from(["length", "length", "chunks", "none"]))
    if framing == "length":
        headers.append(f"Content-Length: {max(0, len(body) + draw(st.sampled_from([0, 0, 0, -1, 1])))}")
    elif framing == "chunks":
        headers.append("Transfer-Encoding: chunked")
        sizes = st.sampled_from([b"%x", b"%X;a=b", b"0%x", b"-%x", b"%xg"])
        body = (
            draw(sizes) % len(body)
            + b"\r\n"
            + body
            + draw(st.sampled_from([b"\r\n0\r\n\r\n", b"\r\n0\r\nA: b\r\n\r\n", b""]))
        )
    version = draw(
        st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "HTCPCP/1.0", ""])
    )
    head = [f"{method} {target} {version}", *headers]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


CONVERSATIONS = st.lists(mutated(http_requests()), min_size=1, max_size=2).map(b"".join) | st.binary(
    max_size=60
)


@examples(80)
@given(sent=CONVERSATIONS)
@example(sent=POLITE.replace(b"Host", b"X-Request-Timeout: \xb2\r\nHost"))
@example(sent=POLITE + b"\0")
@example(sent=POLITE * 3)
@example(sent=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
def test_any_bytes_are_answered_or_end_their_connection_and_the_next_request_is_served(
    door: LiveDoor, sent: bytes
) -> None:
    answers = door.answers_to(sent)
    assert not answers or STATUS_LINE.match(answers), "what comes is HTTP"
    assert b"500" not in STATUS_LINE.findall(answers)
    assert status_of(door.answers_to(POLITE, is_all=False)) == 200
    assert [record.getMessage() for record in door.faults.buffer] == []
