"""One turn of one side: the work, the client program that does it, and what came of it."""

from __future__ import annotations

import asyncio
import gc
import time
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.client import GrpcClient, HttpClient, PythonClient
from benchmarks.machine import Elsewhere, cpu_seconds
from benchmarks.prompts import MAX_TOKENS, Questions
from benchmarks.servers import HOST, Door, Running, Setting
from benchmarks.serving.load import UNFINISHED, Load
from engine.llm import AsyncLLM
from engine.service.event_loop import new_event_loop

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.client import Client
    from benchmarks.serving.load import Answer


@dataclass(frozen=True, slots=True)
class Work:
    """So much load."""

    seconds: float
    """How long requests are sent."""
    clients: int | None = None
    """Clients of a closed loop, or None for an open one."""
    rate: float | None = None
    """Requests a second of an open loop."""
    logprobs: int | None = None
    """Alternatives to ask for with each token."""
    max_tokens: int = MAX_TOKENS
    """Tokens of an answer on average."""

    @property
    def load(self) -> str:
        """Clients of a closed loop, or requests a second of an open one."""
        return f"{self.clients}" if self.rate is None else f"{self.rate:.2f} req/s"


class Percentiles(NamedTuple):
    """Of some times, in milliseconds."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Percentiles | None:
        """Return the percentiles of times in seconds; None if there are none."""
        if not seconds:
            return None
        return cls(*(round(float(p) * 1e3, 3) for p in np.percentile(seconds, (50, 95, 99))))

    @classmethod
    def median(cls, rounds: Iterable[Percentiles | None]) -> Percentiles | None:
        """Return the median of each over the rounds that have them; None if none has."""
        found = [one for one in rounds if one is not None]
        return cls(*map(median, zip(*found, strict=True))) if found else None


@dataclass(frozen=True, slots=True)
class Turn:
    """What the requests of one turn came to."""

    requests: int = 0
    """Requests that were answered to the end."""
    tokens_per_request: float = 0.0
    """Mean tokens of those."""
    tokens_per_s: float = 0.0
    """Tokens that came while they counted, a second."""
    first_token: Percentiles | None = None
    """From sending a request until its first token, of those that came while tokens counted."""
    between_tokens: Percentiles | None = None
    """From one piece of text to the next of the same answer."""
    cut: int = 0
    """Requests that were under way when the clients left; their tokens count, as far as they came."""
    errors: int = 0
    first_error: str | None = None
    client_cpu_s: float = 0.0
    """Processor time of the client program, or of its thread if the engine is in the program too."""
    server_cpu_s: float | None = None
    elsewhere: float | None = None
    """Processors that neither of them had, on average: other programs', and those that the host took away."""

    @classmethod
    def of(cls, answers: Sequence[Answer], start: float, cut_at: float | None = None, **spent: Any) -> Turn:
        """Sum up what came from ``start`` on, until ``cut_at`` or else the last token."""
        whole = [answer for answer in answers if answer.error is None]
        failed = [answer.error for answer in answers if answer.error not in (None, UNFINISHED)]
        end = cut_at or max((at for answer in answers for at in answer.times), default=start)
        begun = [answer for answer in answers if answer.times and answer.times[0] > start]
        tokens = sum(answer.tokens_since(start) for answer in answers)
        return cls(
            requests=len(whole),
            tokens_per_request=round(sum(answer.tokens for answer in whole) / max(len(whole), 1), 2),
            tokens_per_s=tokens / (end - start) if end > start else 0.0,
            first_token=Percentiles.of([answer.times[0] - answer.began for answer in begun]),
            between_tokens=Percentiles.of([gap for answer in answers for gap in answer.gaps(start)]),
            cut=len(answers) - len(whole) - len(failed),
            errors=len(failed),
            first_error=failed[0] if failed else None,
            **spent,
        )

    def entry(self) -> dict[str, Any]:
        """Return the turn for JSON."""
        return asdict(self) | {
            "tokens_per_s": round(self.tokens_per_s, 2),
            "first_token": self.first_token and self.first_token._asdict(),
            "between_tokens": self.between_tokens and self.between_tokens._asdict(),
        }


class Clients:
    """The client program of one door: its own process, in which the Python door has the engine too.

    Args:
        door: Which one.
        served: The server, or what the engine in this process is given.
    """

    def __init__(self, door: Door, served: Running | Setting) -> None:
        self._runner = asyncio.Runner(loop_factory=new_event_loop)
        self._door = door
        self._served = served
        self._llm: AsyncLLM | None = None
        if isinstance(served, Setting):
            options = {"ctx_size": served.context, "parallel": served.slots, "threads": served.threads}
            self._llm = AsyncLLM(str(served.model), gpu_layers=0, **options)

    def perform(self, work: Work) -> Turn:
        """Take a turn."""
        turn = self._runner.run(self._perform(work))
        gc.collect()  # no turn pays for what another left behind
        return turn

    async def _perform(self, work: Work) -> Turn:
        client, model = self._client()
        load = Load(client, Questions(model, work.logprobs, work.max_tokens).next, work.seconds)
        elsewhere, before = Elsewhere(self._server_pid), self._cpu_seconds()
        if work.rate is not None:
            await load.opened(work.rate)
        else:
            await load.closed(work.clients or 1)
        spent = [round(now - then, 3) for now, then in zip(self._cpu_seconds(), before, strict=True)]
        busy = elsewhere.processors()
        await client.close()
        return Turn.of(
            [reply.read(client) for reply in load.replies],
            load.counts_from,
            load.cut_at,
            client_cpu_s=spent[0],
            server_cpu_s=None if busy is None else spent[1],
            elsewhere=None if busy is None else round(busy, 3),
        )

    def _client(self) -> tuple[Client, str]:
        """Return a client for the running event loop, and the name of the model."""
        if self._llm is not None:
            return PythonClient(self._llm), self._llm.service.name
        assert isinstance(self._served, Running)
        of_door = GrpcClient if self._door == "grpc" else HttpClient
        return of_door(HOST, getattr(self._served.ports, self._door)), self._served.model

    @property
    def _server_pid(self) -> int | None:
        return self._served.pid if isinstance(self._served, Running) else None

    def _cpu_seconds(self) -> tuple[float, float]:
        """Return the processor time of the clients, and of the server."""
        if self._server_pid is None:
            return time.thread_time(), time.process_time() - time.thread_time()
        return time.process_time(), cpu_seconds(self._server_pid) or 0.0
