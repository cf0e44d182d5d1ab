"""Clients at work: a closed loop, where each waits for its answer, and an open one, where nobody does."""

from __future__ import annotations

import asyncio
import random
from time import perf_counter
from typing import TYPE_CHECKING, Any

from benchmarks.serving.reply import CallError, Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.serving.reply import Caller

_GRACE = 60.0  # seconds that requests have to end in, after the last one was sent


class Load:
    """Requests to one door, and what became of them.

    Args:
        caller: The door.
        question: Returns the fields of the next request.
        seconds: How long requests are sent; those that are under way then have a minute to end.
    """

    def __init__(self, caller: Caller, question: Callable[[], dict[str, Any]], seconds: float) -> None:
        self.replies: list[Reply] = []
        self.start = perf_counter()
        """When the first requests were sent, in seconds of ``perf_counter``."""
        self.cut_at: float | None = None
        """When requests that took too long were given up, if that came to be."""
        self._caller = caller
        self._question = question
        self._seconds = seconds

    @property
    def end(self) -> float:
        """When the last requests were sent at the latest."""
        return self.start + self._seconds

    async def closed(self, clients: int) -> None:
        """Let so many clients ask one thing after the other."""
        self.start = perf_counter()
        await self._finish([asyncio.create_task(self._ask_on()) for _ in range(clients)])

    async def opened(self, rate: float) -> None:
        """Let ``rate`` requests a second arrive on average, as those of many strangers do (Poisson)."""
        arrivals = random.Random(1)  # noqa: S311 - the same arrivals for every server
        self.start = due = perf_counter()
        tasks: list[asyncio.Task[None]] = []
        while (due := due + arrivals.expovariate(rate)) < self.end:
            await asyncio.sleep(due - perf_counter())
            tasks.append(asyncio.create_task(self._ask(due)))
        await self._finish(tasks)

    async def _ask_on(self) -> None:
        while (now := perf_counter()) < self.end:
            await self._ask(now)

    async def _ask(self, began: float) -> None:
        reply = Reply(began)
        self.replies.append(reply)
        try:
            await self._caller.call(self._question(), reply)
            reply.error = None
        except (CallError, OSError, ValueError) as error:
            reply.error = f"{type(error).__name__}: {error}"
            await asyncio.sleep(0.1)  # a server that refuses at once is not flooded

    async def _finish(self, tasks: list[asyncio.Task[None]]) -> None:
        """Wait for the answers that are still to come, but not for ever."""
        limit = self.end + _GRACE - perf_counter()
        _done, late = await asyncio.wait(tasks, timeout=limit) if tasks else (set(), set())
        if late:
            self.cut_at = perf_counter()
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
