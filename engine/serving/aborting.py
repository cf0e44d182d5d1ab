"""Requests that another call may abort, by the id that their caller gave."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class AbortedError(Exception):
    """A request was aborted by another call."""


class Running:
    """The requests that run, by the ids that their callers gave; several may have the same."""

    def __init__(self) -> None:
        self._requests: dict[str, set[Abortable]] = {}

    @contextmanager
    def entered(self, name: str) -> Iterator[Abortable]:
        """Know a request by its id for as long as the context lasts."""
        request = Abortable()
        self._requests.setdefault(name, set()).add(request)
        try:
            yield request
        finally:
            same = self._requests[name]
            same.discard(request)
            if not same:
                del self._requests[name]

    def abort(self, name: str) -> None:
        """Abort what has this id; nothing is wrong if nothing has it any more."""
        for request in [*self._requests.get(name, ())]:
            request.abort()


class Abortable:
    """A request that waits for one thing after another, until it is aborted."""

    def __init__(self) -> None:
        self._is_aborted = False
        self._scope: asyncio.Timeout | None = None

    def abort(self) -> None:
        """End what it waits for, now or when it begins to."""
        if self._is_aborted:
            return
        self._is_aborted = True
        if self._scope is not None:
            self._scope.reschedule(0)

    @asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """Wait for something inside this context.

        Raises:
            AbortedError: the request was aborted.
        """
        if self._is_aborted:
            raise AbortedError
        try:
            async with asyncio.timeout(None) as self._scope:
                yield
        except TimeoutError:
            if not self._is_aborted:
                raise
            raise AbortedError from None
        finally:
            self._scope = None
