"""The access log: a line for each request, with the same fields for both doors on the network."""

from __future__ import annotations

import json
import logging
import re
import time
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from engine.contract.chat import ChatRequest
from engine.serving.access import OK

if TYPE_CHECKING:
    from engine.contract.requests import CompletionRequest
    from engine.serving.access import Access
    from engine.serving.tracing import Tracing

log = logging.getLogger("nucleus.access")

_PROBES = (
    *("/health", "/ready", "/metrics", "/loads", "/v1/loads", "/grpc.health.v1.Health/Check"),
    *(f"/vllm.grpc.engine.VllmEngine/{method}" for method in ("HealthCheck", "GetLoads")),
)
"""What machines ask every few seconds; it is logged where it fails, or with ``--log-level debug``."""
_WORD = re.compile(r'[^ "=\\]+')
_MAX_LENGTH = 200
_MAX_PROMPT_LENGTH = 10_000


class AccessLog:
    """Writes the lines.

    Args:
        with_prompts: Whether they have what was asked, which may be private.
        tracing: Writes a span for each request that is generated for; None writes none.
    """

    def __init__(self, *, with_prompts: bool = False, tracing: Tracing | None = None) -> None:
        self._with_prompts = with_prompts
        self._tracing = tracing

    def write(self, access: Access) -> None:
        """Write the line of a request that has ended, and let go of what was asked."""
        ended = time.monotonic()
        trace_id = None if self._tracing is None else self._tracing.write(access, ended)
        is_quiet = access.path in _PROBES and access.outcome == OK
        level = logging.DEBUG if is_quiet else logging.INFO
        if log.isEnabledFor(level):
            log.log(level, AccessLine(self._fields(access, ended, trace_id)))
        access.record.release()

    def _fields(self, access: Access, ended: float, trace_id: str | None) -> dict[str, Any]:
        record = access.record
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
        if trace_id is not None:
            fields["trace_id"] = trace_id
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
    return text if _WORD.fullmatch(text) else json.dumps(text, ensure_ascii=False)


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
