"""What one streamed request brought back, raw while the clock runs and read afterwards."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


UNFINISHED = "unfinished when the run ended"
"""The error of a request that neither ended nor failed."""


class CallError(Exception):
    """A request that was answered with anything but a whole stream."""


class Piece(NamedTuple):
    """What one event of a stream says."""

    is_text: bool
    """Whether it carries a token's text or log-probabilities."""
    at_length: bool = False
    """Whether it ends the answer at ``max_tokens``."""
    completion_tokens: int | None = None
    """The whole answer's tokens, where the server counts them."""
    error: str | None = None


class Caller(Protocol):
    """One door of a server, as a client sees it."""

    async def call(self, fields: dict[str, Any], reply: Reply) -> None:
        """Send a request of the contract's fields, and note in ``reply`` each event when it arrives.

        Raises:
            CallError: the server refused, or broke the stream off.
            OSError: there is no connection.
        """

    def piece(self, payload: Any) -> Piece:
        """Read one event."""

    async def close(self) -> None:
        """Let go of what is open."""


@dataclass(slots=True)
class Reply:
    """The events of one request; nothing is parsed before the run is over."""

    began: float
    """When the request was sent, in seconds of ``perf_counter``."""
    max_tokens: int
    """What was asked for."""
    arrivals: list[tuple[float, Any]] = field(default_factory=list)
    """When each event came, and its payload as the door gives it."""
    error: str | None = UNFINISHED
    """Why there is no whole answer, or None."""

    def read(self, piece: Callable[[Any], Piece]) -> Answer:
        """Make an answer of the events."""
        pieces = [(at, piece(payload)) for at, payload in self.arrivals]
        times = [at for at, part in pieces if part.is_text]
        counted = [part.completion_tokens for _, part in pieces if part.completion_tokens is not None]
        if counted:
            tokens = counted[-1]
        else:  # a character of several tokens is one event, so an answer of full length is known better
            tokens = self.max_tokens if any(part.at_length for _, part in pieces) else len(times)
        broken = (part.error for _, part in pieces if part.error)
        return Answer(self.began, times, tokens, self.error or next(broken, None))


@dataclass(frozen=True, slots=True)
class Answer:
    """One request's timing, in seconds of ``perf_counter``."""

    began: float
    times: list[float]
    """When each piece of text came."""
    tokens: int
    """How many tokens the answer has; as many as pieces, or more."""
    error: str | None = None

    def gaps(self, start: float = -math.inf) -> list[float]:
        """Return the seconds between one piece of text and the next, where the first came after ``start``."""
        return [
            after - before
            for before, after in zip(self.times, self.times[1:], strict=False)
            if before > start
        ]

    def tokens_since(self, start: float) -> float:
        """Return the tokens that came after ``start``, as many of each piece as there are on average."""
        late = sum(at > start for at in self.times)
        return late * self.tokens / len(self.times) if late else 0.0
