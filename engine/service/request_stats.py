"""What became of requests, and how long they took: counted for each door, and told by `/metrics`.

The times are those of OpenTelemetry's conventions for servers of generative models, with their bounds.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import contextmanager
from itertools import product
from typing import TYPE_CHECKING, Final, Literal, Self, get_args

from engine.errors import (
    AuthenticationError,
    ContextLengthError,
    DeadlineExceededError,
    EngineError,
    ForbiddenError,
    InternalError,
    InvalidRequestError,
    ModelNotFoundError,
    QueueFullError,
    RequestTooLargeError,
    UnavailableError,
    UnsupportedMediaTypeError,
)
from engine.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from engine.core.handle import RequestHandle

DoorName = Literal["http", "grpc", "python"]
Operation = Literal["text_completion", "chat"]
"""The shape of a request, as OpenTelemetry calls it."""

CANCELLED: Final = "cancelled"
OUTCOMES: Final = (
    *("stop", "length", CANCELLED),
    *(
        error.code
        for error in (
            InvalidRequestError,
            ContextLengthError,
            AuthenticationError,
            ForbiddenError,
            ModelNotFoundError,
            RequestTooLargeError,
            UnsupportedMediaTypeError,
            QueueFullError,
            InternalError,
            UnavailableError,
            DeadlineExceededError,
        )
    ),
)
"""How a request ends: as its choices do (``length`` if one of them was cut), by leaving, or with an error."""

_DURATIONS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST_TOKENS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_TOKENS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)


class RequestStats:
    """What became of the requests of one service.

    Any thread may count. No lock is needed: see :class:`engine.histogram.Histogram`.

    Attributes:
        outcomes: (door, outcome) -> how many requests ended so.
        queue_seconds: How long requests waited for their first slot.
        durations: (operation, code of the error or "") -> how long requests took, up to their last token.
        first_token_seconds: Operation -> how long the first token took, where the request went well.
        token_seconds: Operation -> how long each token behind it took, on average over a request.
    """

    def __init__(self) -> None:
        self.outcomes: Counter[tuple[str, str]] = Counter(
            dict.fromkeys(product(get_args(DoorName), OUTCOMES), 0)
        )
        self.queue_seconds = Histogram(_FIRST_TOKENS)
        operations: tuple[str, ...] = get_args(Operation)
        self.durations = {(operation, ""): Histogram(_DURATIONS) for operation in operations}
        self.first_token_seconds = {operation: Histogram(_FIRST_TOKENS) for operation in operations}
        self.token_seconds = {operation: Histogram(_TOKENS) for operation in operations}

    @contextmanager
    def counting_refusals(self, door: DoorName) -> Iterator[None]:
        """Count a request that is refused before it can be asked of the service."""
        try:
            yield
        except EngineError as error:
            self.refuse(door, error)
            raise

    def refuse(self, door: DoorName, error: EngineError) -> None:
        """Count a request that was refused before it could be asked of the service."""
        self.outcomes[door, error.code] += 1

    def end(self, request: CountedRequest, outcome: str, ended_at: float) -> None:
        """Count a request that has ended."""
        self.outcomes[request.door, outcome] += 1
        admitted_at, first_token_at = request.times
        if admitted_at is not None:
            self.queue_seconds.add(admitted_at - request.began_at)
        has_answer = outcome in ("stop", "length")
        key = request.operation, "" if has_answer else outcome
        self.durations.setdefault(key, Histogram(_DURATIONS)).add(ended_at - request.began_at)
        if has_answer and first_token_at is not None:
            self.first_token_seconds[request.operation].add(first_token_at - request.began_at)
            if request.n_later_tokens > 0:
                seconds = (ended_at - first_token_at) / request.n_later_tokens
                self.token_seconds[request.operation].add(seconds)


class CountedRequest:
    """One request, from its arrival to its end, which is counted once.

    As a context it counts the error that leaves it. A request that goes well ends when its caller has read
    all of it: :meth:`finish`, or :meth:`leave` before that.

    Args:
        stats: Where it is counted.
        door: Where it came in.
        operation: Its shape.
    """

    def __init__(self, stats: RequestStats, door: DoorName, operation: Operation) -> None:
        self.door, self.operation = door, operation
        self.began_at = time.monotonic()
        self._stats = stats
        self._handle: RequestHandle | None = None
        self._is_counted = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.fail(error)

    def follow(self, handle: RequestHandle) -> None:
        """Look at what the engine notes of the request from now on."""
        self._handle = handle

    @property
    def times(self) -> tuple[float | None, float | None]:
        """When its first choice got a slot, and when its first token was drawn."""
        prompts = [] if self._handle is None else self._handle.prompts
        return (
            _earliest(prompt.admitted_at for prompt in prompts),
            _earliest(prompt.first_token_at for prompt in prompts),
        )

    @property
    def n_later_tokens(self) -> float:
        """How many tokens a choice has behind its first, on average."""
        return 0.0 if self._handle is None else self._handle.n_tokens / self._handle.n_choices - 1

    def finish(self) -> None:
        """Note that all of the answer was read."""
        if self._handle is not None:
            is_cut = "length" in self._handle.finish_reasons.values()
            self._end("length" if is_cut else "stop", self._handle.ended_at)

    def fail(self, error: BaseException) -> None:
        """Note what it ended with, unless it has ended; what is no error of ours has cancelled it."""
        self._end(error.code if isinstance(error, EngineError) else CANCELLED)

    def leave(self) -> None:
        """Note that its caller reads no more, be it because there is no more."""
        handle = self._handle
        if handle is not None and len(handle.finish_reasons) == handle.n_choices:
            self.finish()
        else:
            self._end(CANCELLED)

    def _end(self, outcome: str, at: float | None = None) -> None:
        if not self._is_counted:
            self._is_counted = True
            self._stats.end(self, outcome, time.monotonic() if at is None else at)


def _earliest(times: Iterable[float | None]) -> float | None:
    return min((at for at in times if at is not None), default=None)
