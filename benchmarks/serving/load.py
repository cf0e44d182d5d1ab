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

_GRACE = 60.0  # seconds that the requests of an open loop have to end in, after the last one was sent
_WARM_UP = 0.3  # the part of a closed loop that does not count


class Load:
    """Requests to one door, and what became of them.

    Args:
        caller: The door.
        question: Returns the fields of the next request.
        seconds: How long requests are sent. A closed loop's clients leave then; an open one's have a minute
            for the answers that are still to come.
    """

    def __init__(self, caller: Caller, question: Callable[[], dict[str, Any]], seconds: float) -> None:
        self.replies: list[Reply] = []
        self.start = perf_counter()
        """When the first requests were sent, in seconds of ``perf_counter``."""
        self.counts_from = self.start
        """When the tokens begin to count."""
        self.cut_at: float | None = None
        """When requests were given up, if any were."""
        self._caller = caller
        self._question = question
        self._seconds = seconds

    @property
    def end(self) -> float:
        """When the last requests were sent at the latest."""
        return self.start + self._seconds

    async def closed(self, clients: int) -> None:
        """Let so many clients ask one thing after the other.

        What counts is the time in which all of them are at it: not the start, when everybody's prompt comes
        at once, and no end, when there are fewer and fewer. First answers are cut to different lengths, so
        that the clients get out of step: what counts would otherwise hold more prompts of one server than of
        another, by the time that each takes for those of the start.
        """
        self.start = perf_counter()
        self.counts_from = self.start + _WARM_UP * self._seconds
        shares = [(client + 1) / clients for client in range(clients)]
        await self._finish([asyncio.create_task(self._ask_on(share)) for share in shares], grace=0.0)

    async def opened(self, rate: float) -> None:
        """Let ``rate`` requests a second arrive on average, as those of many strangers do (Poisson)."""
        arrivals = random.Random(1)  # noqa: S311 - the same arrivals for every server
        self.start = self.counts_from = due = perf_counter()
        tasks: list[asyncio.Task[None]] = []
        while (due := due + arrivals.expovariate(rate)) < self.end:
            await asyncio.sleep(due - perf_counter())
            tasks.append(asyncio.create_task(self._ask(due)))
        await self._finish(tasks, grace=_GRACE)

    async def _ask_on(self, share: float) -> None:
        while (now := perf_counter()) < self.end:
            await self._ask(now, share)
            share = 1.0

    async def _ask(self, began: float, share: float = 1.0) -> None:
        fields = self._question()
        fields["max_tokens"] = max(1, round(share * fields["max_tokens"]))
        reply = Reply(began, fields["max_tokens"])
        self.replies.append(reply)
        try:
            await self._caller.call(fields, reply)
            reply.error = None
        except (CallError, OSError, ValueError) as error:
            reply.error = f"{type(error).__name__}: {error}"
            await asyncio.sleep(0.1)  # a server that refuses at once is not flooded

    async def _finish(self, tasks: list[asyncio.Task[None]], grace: float) -> None:
        """Wait for the answers that are still to come, until so many seconds after the end; then leave."""
        limit = self.end + grace - perf_counter()
        _done, late = await asyncio.wait(tasks, timeout=limit) if tasks else (set(), set())
        if late:
            self.cut_at = perf_counter()
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
