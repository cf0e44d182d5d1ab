"""What a request is to whoever waits for it: a handle on its deltas."""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Self

from engine.process_bound import ProcessBound

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.core.delta import Delta, FinishReason
    from engine.core.sequence import Prompt


class RequestHandle(ProcessBound):
    """One request in the engine: an asynchronous iterator over its deltas, in order, for one reader.

    It belongs to the event loop in which :meth:`engine.core.engine.Engine.submit` made it.

    Args:
        prompts: What is asked for.
        cancel: Is called with this handle when nobody wants the rest.
        check_speaks: Raises an exception if no delta will come any more.

    Attributes:
        submitted_at: When it was made, by ``time.monotonic``.
        ended_at: When the engine was done with it; None until then.
        n_tokens: Tokens of the deltas that have been read.
        finish_reasons: Choice -> why it ended, as far as that has been read.
    """

    def __init__(
        self,
        prompts: list[Prompt],
        *,
        cancel: Callable[[RequestHandle], None],
        check_speaks: Callable[[], None],
    ) -> None:
        self.owner = prompts[0].owner
        self.prompts = prompts
        self.loop = asyncio.get_running_loop()
        self._cancel, self._check_speaks = cancel, check_speaks
        self._deltas: deque[Delta] = deque()
        self._reader: asyncio.Future[None] | None = None  # set while a reader waits for the next delta
        self._n_open = self.n_choices
        self.submitted_at = monotonic()
        self.ended_at: float | None = None  # written by the engine thread, before the last delta is delivered
        self.n_tokens = 0
        self.finish_reasons: dict[int, FinishReason] = {}

    @property
    def n_choices(self) -> int:
        """How many sequences the request has."""
        return sum(len(prompt.sequences) for prompt in self.prompts)

    def deliver(self, delta: Delta) -> None:
        """Hand over one delta; called in the event loop."""
        self._deltas.append(delta)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def close(self) -> None:
        """Stop the work within one step, unless the last delta of every choice has been read."""
        if self._n_open:
            self._n_open = 0
            self._cancel(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delta:
        """Return the next delta.

        Raises:
            EngineError: a choice failed; the others are of no use to the caller any more.
        """
        if not self._n_open:
            raise StopAsyncIteration
        self._check_speaks()
        while not self._deltas:
            self._reader = self.loop.create_future()
            await self._reader
        delta = self._deltas.popleft()
        if delta.error is not None:
            self.close()
            raise delta.error
        self.n_tokens += delta.n_tokens
        if delta.finish_reason is not None:
            self.finish_reasons[delta.choice] = delta.finish_reason
        self._n_open -= delta.is_last
        return delta
