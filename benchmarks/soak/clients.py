"""Clients who ask, share and leave at random, and what becomes of their requests."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass, field
from random import Random
from time import perf_counter
from typing import TYPE_CHECKING

from benchmarks.client import CallError, GrpcClient, HttpClient
from benchmarks.prompts import PASSAGES
from benchmarks.servers import HOST

if TYPE_CHECKING:
    from benchmarks.client import Client, Fields
    from benchmarks.servers import Ports

CLIENTS = 16
OUTCOMES = "completed", "cancelled", "refused", "errors"
"""A request was answered in full, given up by its client, bad and refused as such, or anything else."""

Tallies = dict[str, Counter[str]]
"""Door -> outcome -> requests; and ``tokens``, those of the completed ones."""

_PATIENCE = 600.0  # seconds in which any answer has to be there, also on a busy machine
_MAX_TOKENS, _LONG_MAX_TOKENS = 120, 600
_STOPS = (".", "\n", " the", ", and", "e")
_LEAVES, _IS_BAD, _IS_LONG = 0.2, 0.02, 0.25  # probabilities
_LEAVING_SECONDS = 6.0  # the longest that a client stays who leaves

_PREFIXES = tuple(
    "\n".join(PASSAGES[start:end])
    for start, end in ((0, 1), (0, 4), (1, 3), (4, 7), (12, 14), (2, 8), (0, 0))
)
"""Up to about 400 tokens; the first two begin alike, and the last is empty."""
_WORDS = sorted({word[:12] for passage in PASSAGES for word in passage.split()})
_BAD: tuple[Fields, ...] = (
    {"max_tokens": 0},
    {"max_tokens": 1 << 20},
    {"n": 0},
    {"logprobs": 6},
    {"temperature": 2.5},
    {"top_p": -0.1},
    {"stop": [""]},
    {"prompt": None},
)
"""Fields that no server takes; the model's context is smaller than the second."""
_BAD_CODES = ("invalid_request_error", "context_length_exceeded")


@dataclass(frozen=True, slots=True)
class Request:
    """One request, and how long its client waits for the answer."""

    fields: Fields
    is_bad: bool = False
    """Whether the server has to refuse it."""
    patience: float | None = None
    """Leave after so many seconds."""

    async def ask(self, client: Client) -> tuple[str, int]:
        """Return what became of it, and the tokens of an answer that was completed.

        Raises:
            Exception: it ended as it should not have.
        """
        try:
            async with (
                asyncio.timeout(_PATIENCE if self.patience is None else self.patience),
                aclosing(client.events(self.fields)) as arriving,
            ):
                events = [client.read(event) async for event in arriving]
        except CallError as refusal:
            if self.is_bad and refusal.code in _BAD_CODES:
                return "refused", 0
            raise
        except TimeoutError:
            if self.patience is not None:
                return "cancelled", 0
            raise
        assert not self.is_bad, "a bad request was answered"
        return "completed", self._checked_tokens(events)

    def _checked_tokens(self, events: list[Fields]) -> int:
        """Return the tokens of a whole answer, after a look at whether it is one."""
        n, max_tokens = self.fields["n"], self.fields["max_tokens"]
        ended = [choice for event in events for choice in event["choices"] if choice["finish_reason"]]
        assert sorted(choice["index"] for choice in ended) == list(range(n)), f"of {n} choices: {ended}"
        assert {choice["finish_reason"] for choice in ended} <= {"stop", "length"}, f"finish reasons: {ended}"
        tokens: int = next(e["usage"]["completion_tokens"] for e in reversed(events) if e.get("usage"))
        assert n <= tokens <= n * max_tokens, f"{tokens} tokens, not {n} to {n * max_tokens}"
        return tokens


def random_request(model: str, random: Random) -> Request:
    """Return a request of any kind that moves the KV cache; the same for the same state of ``random``."""
    prompt = [random.choice(_PREFIXES), *random.choices(_WORDS, k=random.randrange(40))]
    is_long = random.random() < _IS_LONG  # longer than was foreseen, so that others are preempted
    fields: Fields = {
        "model": model,
        "prompt": " ".join(prompt),
        "max_tokens": random.randint(*((_MAX_TOKENS, _LONG_MAX_TOKENS) if is_long else (1, _MAX_TOKENS))),
        "n": random.randint(1, 3),
        "temperature": random.choice((0.0, 0.7, 1.0)),
        "user": f"user {random.randrange(5)}",
    }
    if random.random() < 0.5:
        fields["logprobs"] = random.randint(0, 5)
    if random.random() < 0.3:
        fields["stop"] = random.sample(_STOPS, random.randint(1, 2))
    if random.random() < 0.3:
        fields["seed"] = random.getrandbits(32)
    if random.random() < 0.5:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    if random.random() < _IS_BAD:
        return Request(fields | random.choice(_BAD), is_bad=True)
    return Request(
        fields, patience=random.uniform(0, _LEAVING_SECONDS) if random.random() < _LEAVES else None
    )


@dataclass
class Crowd:
    """All clients; every other one goes to the other door."""

    ports: Ports
    model: str
    """The name that the server answers to."""
    seed: int
    """Decides what is asked."""
    tallies: Tallies = field(default_factory=lambda: {"http": Counter(), "grpc": Counter()})
    first_error: str = ""

    def ask(self, seconds: float) -> tuple[Tallies, str]:
        """Ask for so long, and finish what has been asked; return what became of it, and the first error."""
        asyncio.run(self._ask_all(perf_counter() + seconds))
        return self.tallies, self.first_error

    async def _ask_all(self, end: float) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(self._ask_until(end, number))

    async def _ask_until(self, end: float, number: int) -> None:
        random = Random(f"{self.seed} {number}")  # noqa: S311 - not for secrets
        door = ("http", "grpc")[number % 2]
        client = HttpClient(HOST, self.ports.http) if door == "http" else GrpcClient(HOST, self.ports.grpc)
        while perf_counter() < end:
            request = random_request(self.model, random)
            outcome, tokens = "errors", 0
            try:
                outcome, tokens = await request.ask(client)
            except Exception as error:  # whatever it is, it is what this run looks for
                found = f"{type(error).__name__}: {error}, in answer to {request.fields}"
                self.first_error = self.first_error or found
            self.tallies[door].update({outcome: 1, "tokens": tokens})
        await client.close()
