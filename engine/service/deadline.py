"""How long a request may take, over all the times that it is waited for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from engine.errors import DeadlineExceededError

if TYPE_CHECKING:
    from types import TracebackType


class Deadline:
    """An asynchronous context that ends with an error at a time; it may be entered again and again.

    Args:
        seconds: From now on; None for no limit.

    Raises:
        DeadlineExceededError: at the end of a context, in place of what the deadline has cut short.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._at = None if seconds is None else asyncio.get_running_loop().time() + seconds
        self._timeout: asyncio.Timeout | None = None

    @property
    def is_none(self) -> bool:
        """True if there is no limit."""
        return self._at is None

    async def __aenter__(self) -> Self:
        if self._at is not None:
            self._timeout = asyncio.timeout_at(self._at)
            await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timeout is None:
            return
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            message = f"The request was given up after {self._seconds:g} s, the time it was allowed."
            raise DeadlineExceededError(message) from None
