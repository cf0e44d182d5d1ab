"""One turn of one side: the requests, the client program that sends them, and what the answers come to."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import time
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.client import CallError, GrpcClient, HttpClient, PythonClient
from benchmarks.machine import Elsewhere, cpu_seconds
from benchmarks.prompts import Questions
from benchmarks.servers import HOST, Door, Running, Setting
from engine.async_llm import AsyncLLM
from engine.service.event_loop import new_event_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from benchmarks.client import Client

UNFINISHED = "unfinished when the run ended"  # the error of a request that neither ended nor failed
_GRACE = 60.0  # seconds that the requests of an open loop have to end in, after the last one was sent
_REST = 30.0  # seconds that an engine has at the most to become idle in
_WARM_UP = 0.3  # the part of a closed loop that does not count


@dataclass(frozen=True, slots=True)
class Work:
    """A closed loop of clients that ask one thing after the other, or an open loop of so many requests."""

    seconds: float  # in which requests are sent
    clients: int | None = None
    requests_per_s: float | None = None  # on average
    logprobs: int | None = None  # alternatives to ask for with each token


@dataclass(slots=True)
class Answer:
    """One answer: its events, raw while the clock runs, and what reading them finds afterwards."""

    began: float  # when the request was sent, in seconds of perf_counter as all times
    max_tokens: int = 0
    events: list[tuple[float, Any]] = field(default_factory=list)  # when each came, and the event
    error: str | None = UNFINISHED
    times: list[float] = field(default_factory=list)  # when each piece of text came
    tokens: int = 0  # as many as pieces, or more

    def read(self, client: Client) -> None:
        """Find the times and the tokens in the events, or an error."""
        is_full = False
        try:
            for at, event in self.events:
                body = client.read(event)
                choices = body.get("choices") or []
                self.times += [at] * any(choice["text"] or choice.get("logprobs") for choice in choices)
                is_full |= any(choice.get("finish_reason") == "length" for choice in choices)
                self.tokens = (body.get("usage") or {}).get("completion_tokens", self.tokens)
        except CallError as refusal:
            self.error = self.error or str(refusal)
        # A character of several tokens is one event; without a usage, a full length says more.
        self.tokens = self.tokens or (self.max_tokens if is_full else len(self.times))


def percentiles(seconds: Sequence[float]) -> dict[str, float] | None:
    """Return the percentiles ``p50``, ``p95`` and ``p99`` in milliseconds; None if there are no times."""
    if not seconds:
        return None
    found = np.percentile(seconds, (50, 95, 99)) * 1e3
    return dict(zip(("p50", "p95", "p99"), found.tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class Turn:
    """What the requests of one turn came to; times are percentiles in milliseconds."""

    requests: int = 0  # that were answered to the end
    tokens_per_request: float = 0.0  # of those, on average
    tokens_per_s: float = 0.0  # of all that came while tokens counted
    first_token: dict[str, float] | None = None  # since sending, of those that came while tokens counted
    between_tokens: dict[str, float] | None = None  # from one piece of text to the next
    cut: int = 0  # requests under way when the clients left; their tokens count, as far as they came
    errors: int = 0
    first_error: str | None = None
    client_cpu_s: float = 0.0  # of the client program, or of its thread if the engine is in the program too
    elsewhere: float | None = None  # processors, on average, that neither clients nor engine had

    @classmethod
    def of(cls, answers: Sequence[Answer], start: float, cut_at: float | None = None, **spent: Any) -> Turn:
        """Sum up what came from ``start`` on, until ``cut_at`` or else the last token."""
        whole = [answer for answer in answers if answer.error is None]
        failed = [answer.error for answer in answers if answer.error not in (None, UNFINISHED)]
        came = [(answer, np.array(answer.times)) for answer in answers if answer.times]
        end = cut_at or max((times[-1] for _, times in came), default=start)
        # A piece may be several tokens: each counts as many as its answer has on average.
        tokens = sum(answer.tokens * float(np.mean(times > start)) for answer, times in came)
        gaps = [np.diff(times)[times[:-1] > start] for _, times in came]
        return cls(
            requests=len(whole),
            tokens_per_request=sum(answer.tokens for answer in whole) / max(len(whole), 1),
            tokens_per_s=tokens / (end - start) if end > start else 0.0,
            first_token=percentiles([times[0] - each.began for each, times in came if times[0] > start]),
            between_tokens=percentiles(np.concatenate(gaps).tolist() if gaps else []),
            cut=len(answers) - len(whole) - len(failed),
            errors=len(failed),
            first_error=failed[0] if failed else None,
            **spent,
        )


class Load:
    """The requests of one turn, and their answers.

    What counts in a closed loop is the time in which all clients are at it: not the start, when everybody's
    prompt comes at once, and no end, when there are fewer and fewer. First answers are cut to different
    lengths, so that the clients get out of step: what counts would otherwise hold more prompts of one server
    than of another, by the time that each takes for those of the start.
    """

    def __init__(self, client: Client, questions: Questions, work: Work) -> None:
        self.answers: list[Answer] = []
        self.counts_from = perf_counter()
        self.cut_at: float | None = None
        self._client = client
        self._questions = questions
        self._work = work
        self._end = self.counts_from + work.seconds

    async def run(self) -> None:
        """Send requests, and give up those that have not ended in time."""
        clients = self._work.clients
        if clients is None:
            tasks = [task async for task in self._strangers()]
            self._end += _GRACE
        else:
            self.counts_from += _WARM_UP * self._work.seconds
            tasks = [asyncio.create_task(self._ask_on((client + 1) / clients)) for client in range(clients)]
        try:
            async with asyncio.timeout(self._end - perf_counter()):
                await asyncio.gather(*tasks)
        except TimeoutError:
            self.cut_at = perf_counter()

    async def _ask_on(self, share: float) -> None:
        while (now := perf_counter()) < self._end:
            await self._ask(now, share)
            share = 1.0

    async def _strangers(self) -> AsyncIterator[asyncio.Task[None]]:
        """Let requests arrive at random times (Poisson), the same for every server."""
        arrivals = random.Random(1)  # noqa: S311 - not for secrets
        due = self.counts_from
        while (due := due + arrivals.expovariate(self._work.requests_per_s or 1.0)) < self._end:
            await asyncio.sleep(due - perf_counter())
            yield asyncio.create_task(self._ask(due))

    async def _ask(self, began: float, share: float = 1.0) -> None:
        fields = self._questions.next()
        fields["max_tokens"] = max(1, round(share * fields["max_tokens"]))
        answer = Answer(began, fields["max_tokens"])
        self.answers.append(answer)
        try:
            async for event in self._client.events(fields):
                answer.events.append((perf_counter(), event))
            answer.error = None
        except (CallError, OSError, ValueError) as error:
            answer.error = f"{type(error).__name__}: {error}"
            await asyncio.sleep(0.1)  # a server that refuses at once is not flooded


class Clients:
    """The client program of one door: its own process, in which the Python door has the engine too."""

    def __init__(self, door: Door, served: Running | Setting) -> None:
        self._runner = asyncio.Runner(loop_factory=new_event_loop)
        self._server_pid: int | None = None
        if isinstance(served, Running):
            of_door = GrpcClient if door == "grpc" else HttpClient
            self._connect: Callable[[], Client] = partial(of_door, HOST, getattr(served.ports, door))
            self._model, self._server_pid, self._clock = served.model, served.pid, time.process_time
        else:
            options = {"ctx_size": served.context, "parallel": served.slots, "threads": served.threads}
            llm = AsyncLLM(str(served.model), gpu_layers=0, **options)
            self._connect = partial(PythonClient, llm)
            self._model, self._clock = llm.service.name, time.thread_time

    def perform(self, work: Work) -> Turn:
        """Take a turn, which lasts until the engine is idle again.

        What it still does for clients that have left must burden nobody's turn.
        """
        turn = self._runner.run(self._perform(work))
        gc.collect()
        engine, limit = self._server_pid or os.getpid(), perf_counter() + _REST
        while turn.cut and perf_counter() < limit:
            before = cpu_seconds(engine) or 0.0
            time.sleep(0.3)
            if (cpu_seconds(engine) or 0.0) - before < 0.03:
                break
        return turn

    async def _perform(self, work: Work) -> Turn:
        client = self._connect()
        load = Load(client, Questions(self._model, work.logprobs), work)
        elsewhere, cpu = Elsewhere(self._server_pid), self._clock()
        await load.run()
        spent = {"client_cpu_s": self._clock() - cpu, "elsewhere": elsewhere.processors()}
        await client.close()
        for answer in load.answers:
            answer.read(client)
        return Turn.of(load.answers, load.counts_from, load.cut_at, **spent)
