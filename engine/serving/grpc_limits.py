"""What a client of the gRPC door may take of the server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.serving.exchange import MAX_REQUEST_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOM_FOR_OTHER_CALLS = 256
"""Calls beyond the most requests: for health, models, tokens, and requests that are refused with details."""


@dataclass(frozen=True, slots=True)
class GrpcLimits:
    """The limits of the gRPC door; those of time are the same as over HTTP."""

    max_calls: int | None = None
    """Calls at once, watches included; more are answered with RESOURCE_EXHAUSTED."""
    max_watches: int = ROOM_FOR_OTHER_CALLS // 2
    """Watches of the health service at once; more are answered with RESOURCE_EXHAUSTED."""
    max_message_bytes: int = MAX_REQUEST_BYTES
    """Largest message of a request; a larger one is answered with RESOURCE_EXHAUSTED."""
    max_metadata_bytes: int = 16 << 10
    """Most metadata of a call; more are answered with RESOURCE_EXHAUSTED."""
    handshake_seconds: float = 20.0
    """For a connection until the client has said which HTTP/2 settings it uses, TLS included."""
    stall_seconds: float = 30.0
    """In which a client that has an answer to read must make room for the next message."""
    ping_seconds: float = 60.0
    """After so long without a sign of life a client that has calls is pinged."""
    ping_answer_seconds: float = 20.0
    """For its answer; then its connection is closed, and its calls end."""
    min_ping_seconds: float = 10.0
    """A client that pings more often than this, three times, is cut off."""

    def options(self) -> Sequence[tuple[str, int]]:
        """Return those that gRPC keeps itself, as its arguments."""
        return (
            ("grpc.max_receive_message_length", self.max_message_bytes),
            ("grpc.max_metadata_size", self.max_metadata_bytes),
            ("grpc.absolute_max_metadata_size", self.max_metadata_bytes),
            ("grpc.server_handshake_timeout_ms", int(self.handshake_seconds * 1000)),
            ("grpc.keepalive_time_ms", int(self.ping_seconds * 1000)),
            ("grpc.keepalive_timeout_ms", int(self.ping_answer_seconds * 1000)),
            ("grpc.http2.max_pings_without_data", 0),  # no limit: a request may wait for long
            ("grpc.http2.min_ping_interval_without_data_ms", int(self.min_ping_seconds * 1000)),
            ("grpc.http2.max_ping_strikes", 2),
        )
