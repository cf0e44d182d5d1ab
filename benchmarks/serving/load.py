"""Clients at work, and what came back: raw while the clock runs, and read afterwards."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.client import CallError

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.client import Client, Fields

UNFINISHED = "unfinished when the run ended"
"""The error of a request that neither ended nor failed."""

_GRACE = 60.0  # seconds that the requests of an open loop have to end in, after the last one was sent
_WARM_UP = 0.3  # the part of a closed loop that does not count


@dataclass(slots=True)
class Reply:
    """The events of one request."""

    began: float
    """When the request was sent, in seconds of ``perf_counter``."""
    max_tokens: int
    arrivals: list[tuple[float, Any]] = field(default_factory=list)
    """When each event came, and the event as the client gives it."""
    error: str | None = UNFINISHED
    """Why there is no whole answer, or None."""

    async def listen(self, client: Client, fields: Fields) -> None:
        """Send a request, and note its events."""
        async for event in client.events(fields):
            self.arrivals.append((perf_counter(), event))
        self.error = None

    def read(self, client: Client) -> Answer:
        """Read the events, for the times of an answer."""
        times: list[float] = []
        tokens, is_full, error = 0, False, self.error
        for at, event in self.arrivals:
            try:
                body = client.read(event)
            except CallError as refusal:
                error = error or str(refusal)
                continue
            choices = body.get("choices") or []
            times += [at] * any(choice["text"] or choice.get("logprobs") for choice in choices)
            is_full |= any(choice.get("finish_reason") == "length" for choice in choices)
            tokens = (body.get("usage") or {}).get("completion_tokens", tokens)
        # A character of several tokens is one event; without a usage, a full length tells more.
        return Answer(self.began, times, tokens or (self.max_tokens if is_full else len(times)), error)


class Answer(NamedTuple):
    """One request's timing, in seconds of ``perf_counter``."""

    began: float
    times: list[float]
    """When each piece of text came."""
    tokens: int
    """How many tokens the answer has; as many as pieces, or more."""
    error: str | None = None

    def gaps(self, start: float) -> list[float]:
        """Return the seconds between one piece of text and the next, where the first came after ``start``."""
        pairs = zip(self.times, self.times[1:], strict=False)
        return [after - before for before, after in pairs if before > start]

    def tokens_since(self, start: float) -> float:
        """Return the tokens that came after ``start``, as many of each piece as there are on average."""
        late = sum(at > start for at in self.times)
        return late * self.tokens / len(self.times) if late else 0.0


class Load:
    """Requests of many clients, and what became of them.

    Args:
        client: Sends them.
        question: Returns the fields of the next request.
        seconds: How long requests are sent. A closed loop's clients leave then; an open one's have a minute
            for the answers that are still to come.
    """

    def __init__(self, client: Client, question: Callable[[], Fields], seconds: float) -> None:
        self.replies: list[Reply] = []
        self.counts_from = 0.0
        """When the tokens begin to count."""
        self.cut_at: float | None = None
        """When requests were given up, if any were."""
        self._client = client
        self._question = question
        self._seconds = seconds
        self._end = 0.0

    async def closed(self, clients: int) -> None:
        """Let each client ask one thing after the other.

        What counts is the time in which all of them are at it: not the start, when everybody's prompt comes
        at once, and no end, when there are fewer and fewer. First answers are cut to different lengths, so
        that the clients get out of step: what counts would otherwise hold more prompts of one server than of
        another, by the time that each takes for those of the start.
        """
        start = perf_counter()
        self._end, self.counts_from = start + self._seconds, start + _WARM_UP * self._seconds
        shares = [(client + 1) / clients for client in range(clients)]
        await self._finish([asyncio.create_task(self._ask_on(share)) for share in shares], grace=0.0)

    async def opened(self, rate: float) -> None:
        """Let ``rate`` requests a second arrive on average, as those of many strangers do (Poisson)."""
        arrivals = random.Random(1)  # noqa: S311 - the same arrivals for every server
        self.counts_from = due = perf_counter()
        self._end = due + self._seconds
        tasks: list[asyncio.Task[None]] = []
        while (due := due + arrivals.expovariate(rate)) < self._end:
            await asyncio.sleep(due - perf_counter())
            tasks.append(asyncio.create_task(self._ask(due)))
        await self._finish(tasks, grace=_GRACE)

    async def _ask_on(self, share: float) -> None:
        while (now := perf_counter()) < self._end:
            await self._ask(now, share)
            share = 1.0

    async def _ask(self, began: float, share: float = 1.0) -> None:
        fields = self._question()
        fields["max_tokens"] = max(1, round(share * fields["max_tokens"]))
        reply = Reply(began, fields["max_tokens"])
        self.replies.append(reply)
        try:
            await reply.listen(self._client, fields)
        except (CallError, OSError, ValueError) as error:
            reply.error = f"{type(error).__name__}: {error}"
            await asyncio.sleep(0.1)  # a server that refuses at once is not flooded

    async def _finish(self, tasks: list[asyncio.Task[None]], grace: float) -> None:
        """Wait for the answers that are still to come, until so many seconds after the end; then leave."""
        limit = self._end + grace - perf_counter()
        _done, late = await asyncio.wait(tasks, timeout=limit) if tasks else (set(), set())
        if late:
            self.cut_at = perf_counter()
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
