"""One request at a door on the network, from its arrival to its end, as the log and traces tell it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from engine.service.record import RequestRecord

CANCELLED = "cancelled"
"""What became of a request whose client went away before it had its answer."""
CLIENT_GONE = 499
"""The status over HTTP of such a request, as nginx has it, unless its answer had begun."""
OK = "ok"


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
    record: RequestRecord
    headers: Callable[[], Iterable[tuple[str, str]]] = tuple
    """Returns what the client sent with it, names in small letters."""
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
