"""What both doors on the network do with every request: its size, its id, and an error that is ours."""

from __future__ import annotations

import uuid
from math import inf, nan
from typing import TYPE_CHECKING

from starlette.datastructures import QueryParams

from engine.errors import InvalidRequestError

if TYPE_CHECKING:
    from starlette.types import Scope

MAX_REQUEST_BYTES = 4 << 20
"""Largest request: the body over HTTP, the message over gRPC."""
COMPLETIONS_PATH = "/v1/completions"
CHAT_PATH = "/v1/chat/completions"
HEALTH_PATH = "/health"
IS_REFUSED = "is_refused"
"""Key of an HTTP request's state: True if there was no room for it when it came."""
N_CONNECTIONS = "n_connections"
"""Another: how many connections were open then."""
_MAX_ID_LENGTH = 128


def request_id(given: str | None) -> str:
    """Return the id that the client gave, cut to 128 characters, or a new one."""
    return (given or "")[:_MAX_ID_LENGTH] or f"req-{uuid.uuid4().hex}"


def wants_detail(scope: Scope) -> bool:
    """Return True for ``/health?verbose``, which has detail for an operator; not for ``verbose=false``."""
    if scope["path"] != HEALTH_PATH:
        return False
    value = QueryParams(scope["query_string"]).get("verbose")
    return value is not None and value.lower() not in ("0", "false")


def seconds_of(header: str | None) -> float | None:
    """Return how long the client waits, by its header ``X-Request-Timeout``; None if it does not say.

    Raises:
        InvalidRequestError: it is no positive number.
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        seconds = nan
    if not 0 < seconds < inf:
        raise InvalidRequestError(f"'X-Request-Timeout' should be seconds above 0, not {header[:80]!r}.")
    return seconds
