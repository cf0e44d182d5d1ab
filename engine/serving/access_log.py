"""The access log: a line for each request, with the same fields for both doors on the network."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from engine.contract.chat import ChatRequest
from engine.service.record import RequestRecord

if TYPE_CHECKING:
    from engine.contract.requests import CompletionRequest

log = logging.getLogger("nucleus.access")

CANCELLED = "cancelled"
"""What became of a request whose client went away before it had its answer."""
CLIENT_GONE = 499
"""The status over HTTP of such a request, as nginx has it, unless its answer had begun."""
OK = "ok"
_PROBES = ("/health", "/ready", "/metrics", "/grpc.health.v1.Health/Check")
"""What machines ask every few seconds; it is logged where it fails, or with ``--log-level debug``."""
_MAX_LENGTH = 200
_MAX_PROMPT_LENGTH = 10_000


@dataclass(slots=True)
class Access:
    """One request at a door, and what became of it."""

    method: str
    """Of HTTP; ``gRPC`` for that door."""
    path: str
    """The path without its query, which may hold a secret; of gRPC, the service and the method."""
    client: str
    """The address that it came from."""
    request_id: str
    record: RequestRecord = field(default_factory=RequestRecord)
    began: float = field(default_factory=time.monotonic)
    status: int | str = 0
    """Of HTTP a number, of gRPC a word."""
    aborted: str = ""
    """The status of gRPC that the call was ended with before its time, if it was."""
    is_answered: bool = False
    """Whether the client was sent all of its answer, or an error."""

    @property
    def outcome(self) -> str:
        """``ok``, ``cancelled``, or the code of the error that the client was told."""
        if self.record.error is not None:
            return self.record.error.code
        if self.aborted:
            return self.aborted.lower()
        return OK if self.is_answered and self.status != CLIENT_GONE else CANCELLED


class AccessLog:
    """Writes the lines.

    Args:
        with_prompts: Whether they have what was asked, which may be private.
    """

    def __init__(self, *, with_prompts: bool = False) -> None:
        self._with_prompts = with_prompts

    def write(self, access: Access) -> None:
        """Write the line of a request that has ended, and let go of what was asked."""
        is_quiet = access.path in _PROBES and access.outcome == OK
        level = logging.DEBUG if is_quiet else logging.INFO
        if log.isEnabledFor(level):
            log.log(level, AccessLine(self._fields(access)))
        access.record.release()

    def _fields(self, access: Access) -> dict[str, Any]:
        ended, record = time.monotonic(), access.record
        fields: dict[str, Any] = {
            "message": f"{access.method} {shown(access.path)} {access.status}",
            "client": access.client,
            "method": access.method,
            "path": shown(access.path),
            "status": access.status,
            "total_ms": _milliseconds(access.began, ended),
            "request_id": shown(access.request_id),
            "outcome": access.outcome,
        }
        if (request := record.request) is not None:
            fields["model"] = shown(request.model)
            fields |= {} if request.user is None else {"user": shown(request.user)}
        if record.answer_id is not None:
            fields["answer_id"] = record.answer_id
        if (tokens := record.tokens) is not None:
            fields |= {f"{name}_tokens": count for name, count in tokens._asdict().items()}
        if (times := record.times) is not None:
            fields["queue_ms"] = _milliseconds(times.submitted, times.admitted or ended)
            if times.first_token is not None:
                fields["first_token_ms"] = _milliseconds(access.began, times.first_token)
        if record.finish_reasons:
            fields["finish_reasons"] = record.finish_reasons
        if self._with_prompts and request is not None:
            fields["prompt"] = _prompt_of(request)
        return fields


class AccessLine(dict[str, Any]):
    """The fields of a line: a JSON log has them as they are, a text log in one line."""

    @override
    def __str__(self) -> str:
        given = {name: value for name, value in self.items() if name not in _IN_FRONT}
        if given["outcome"] == OK:
            del given["outcome"]
        rest = "".join(f" {name}={_as_text(value)}" for name, value in given.items())
        front = f"{self['client']} {self['method']} {self['path']!r} {self['status']}"
        return f"{front} {self['total_ms']:.0f} ms {_as_text(self['request_id'])}{rest}"


_IN_FRONT = frozenset({"message", "client", "method", "path", "status", "total_ms", "request_id"})


def shown(text: str, most: int = _MAX_LENGTH) -> str:
    r"""Return the first characters of what a client has sent, escaped where they could steer a terminal.

    >>> shown("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    text = text[:most]
    return text if text.isprintable() else repr(text)[1:-1]


def _as_text(value: object) -> str:
    """Return a value of one word, in quotes unless it is one: no client can write fields of its own."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    text = str(value)
    return text if text and not set(' "=\\') & set(text) else json.dumps(text, ensure_ascii=False)


def _milliseconds(begin: float, end: float) -> float:
    return round((end - begin) * 1e3, 1)


def _prompt_of(request: CompletionRequest | ChatRequest) -> str:
    """Return what was asked, as it came: one text as it is, anything else as JSON."""
    if isinstance(request, ChatRequest) or request.messages is not None:
        asked: Any = [message.model_dump() for message in request.messages or ()]
    else:
        asked = request.prompt
    text = asked if isinstance(asked, str) else json.dumps(asked, ensure_ascii=False)
    return shown(text, _MAX_PROMPT_LENGTH)
