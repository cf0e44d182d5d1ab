"""What both doors on the network do with every request: its size, its id, and an error that is ours."""

from __future__ import annotations

import uuid

from engine.errors import InternalError

MAX_REQUEST_BYTES = 4 << 20
"""Largest request: the body over HTTP, the message over gRPC."""
_MAX_ID_LENGTH = 128


def request_id(given: str | None) -> str:
    """Return the id that the client gave, cut to 128 characters, or a new one."""
    return (given or "")[:_MAX_ID_LENGTH] or f"req-{uuid.uuid4().hex}"


def internal_error(error: Exception) -> InternalError:
    """Return what a client is told of a fault that the server has logged."""
    return InternalError(f"The server failed ({type(error).__name__}); its log says more.")
