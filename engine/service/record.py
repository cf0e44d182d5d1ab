"""What became of one request, for whoever writes about it: the access log, and traces."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.contract.chat import ChatRequest
    from engine.contract.requests import CompletionRequest
    from engine.core.delta import FinishReason
    from engine.core.handle import RequestHandle
    from engine.errors import EngineError
    from engine.service.request_stats import DoorName


class Tokens(NamedTuple):
    """The tokens of a request."""

    prompt: int
    """Each prompt counts once."""
    cached: int
    """Those of them that were in the cache."""
    completion: int
    """Generated, over all candidates."""


class Times(NamedTuple):
    """When a request reached what, by ``time.monotonic``; None where it never did."""

    submitted: float
    admitted: float | None
    """When the first of its choices was given a slot."""
    first_token: float | None
    """When the first token of an answer was drawn."""


class RequestRecord:
    """One request from its arrival on; a door makes it :data:`current_record` before anything else.

    Args:
        door: Where it came in.

    Attributes:
        door: As given.
        request: What is asked for, once it is understood.
        answer_id: The answer's id, once the request is queued.
        error: What the client is told instead of an answer, or of the rest of one.
    """

    __slots__ = ("_handle", "answer_id", "door", "error", "request")

    def __init__(self, door: DoorName) -> None:
        self.door: DoorName = door
        self.request: CompletionRequest | ChatRequest | None = None
        self.answer_id: str | None = None
        self.error: EngineError | None = None
        self._handle: RequestHandle | None = None

    def submit(self, answer_id: str, handle: RequestHandle) -> None:
        """Note that the request is queued."""
        self.answer_id, self._handle = answer_id, handle

    def release(self) -> None:
        """Let go of the request: timers of its connection may hold the record for longer."""
        self.request = self._handle = None

    @property
    def tokens(self) -> Tokens | None:
        """Its tokens so far; None before it is queued."""
        handle = self._handle
        if handle is None:
            return None
        prompts = handle.prompts
        is_whole = len(handle.finish_reasons) == handle.n_choices
        drawn = sum(len(sequence.generated) for prompt in prompts for sequence in prompt.sequences)
        drawn -= sum(prompt.n_resumed for prompt in prompts)
        return Tokens(
            prompt=sum(len(prompt.tokens) for prompt in prompts),
            cached=sum(prompt.n_cached for prompt in prompts),
            completion=handle.n_tokens if is_whole else drawn,  # an answer cut off has cost them all the same
        )

    @property
    def times(self) -> Times | None:
        """When it reached what; None before it is queued."""
        handle = self._handle
        if handle is None:
            return None
        prompts = handle.prompts
        return Times(
            handle.submitted_at,
            _earliest(prompt.admitted_at for prompt in prompts),
            _earliest(prompt.first_token_at for prompt in prompts),
        )

    @property
    def finish_reasons(self) -> list[FinishReason]:
        """Why each choice has ended, in their order, as far as that is known."""
        reasons = {} if self._handle is None else self._handle.finish_reasons
        return [reasons[choice] for choice in sorted(reasons)]


def _earliest(times: Iterable[float | None]) -> float | None:
    return min((at for at in times if at is not None), default=None)


current_record: ContextVar[RequestRecord | None] = ContextVar("current_record", default=None)
"""The record of the request that is being answered, if its door keeps one."""


def current_door() -> DoorName:
    """Return where the current request came in: by a call in Python, unless a door has made a record."""
    record = current_record.get()
    return "python" if record is None else record.door


def note_error(error: EngineError) -> None:
    """Note what the client of the current request is told."""
    record = current_record.get()
    if record is not None:
        record.error = error
