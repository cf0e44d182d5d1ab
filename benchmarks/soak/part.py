"""What a door brings of an answer, in one form for both doors, and what is wrong with a whole one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from benchmarks.soak.request import Request


class RefusedError(Exception):
    """A request that was answered with an error.

    Args:
        status: The wire's own: a status of HTTP, or the name of one of gRPC.
        message: What the server said.
        blames_request: Whether the status says that the request is at fault.
    """

    def __init__(self, status: str, message: str, *, blames_request: bool) -> None:
        super().__init__(f"{status} {message}")
        self.blames_request = blames_request


class Part(NamedTuple):
    """What came at once: a chunk of a stream, or all of an answer that is not streamed."""

    reasons: dict[int, str]
    """Index of each choice that ends here -> its finish reason."""
    completion_tokens: int | None
    """Tokens of the whole answer, where the part tells."""


class Door(Protocol):
    """One door of the server, as a client sees it."""

    def ask(self, request: Request) -> AsyncGenerator[Part, None]:
        """Yield the parts of an answer; closing the iterator leaves as a client does that goes away.

        Raises:
            RefusedError: the server answered with an error.
        """

    async def close(self) -> None:
        """Let go of what is open."""


@dataclass(slots=True)
class Answer:
    """The parts so far, and what they say."""

    n_parts: int = 0
    ended: list[int] = field(default_factory=list)
    """Indexes of the choices that have ended."""
    reasons: set[str] = field(default_factory=set)
    completion_tokens: int | None = None

    def add(self, part: Part) -> None:
        """Take the next part."""
        self.n_parts += 1
        self.ended.extend(part.reasons)
        self.reasons.update(part.reasons.values())
        if part.completion_tokens is not None:
            self.completion_tokens = part.completion_tokens

    def problem(self, request: Request) -> str | None:
        """Return what is wrong with it as a whole answer, or None."""
        if sorted(self.ended) != list(range(request.n)):
            return f"of {request.n} choices, these ended: {self.ended}"
        if not self.reasons <= {"stop", "length"}:
            return f"finish reasons {self.reasons}"
        if self.completion_tokens is None:
            return "no usage"
        if not request.n <= self.completion_tokens <= request.most_tokens:
            return f"{self.completion_tokens} tokens, not {request.n} to {request.most_tokens}"
        return None
