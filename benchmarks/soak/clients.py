"""Clients who ask, share and leave at random, and what becomes of their requests.

They are a process of their own, so that the memory which is watched is the server's alone.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from random import Random
from time import perf_counter
from typing import TYPE_CHECKING, Any

from benchmarks.client import CallError, GrpcClient, HttpClient
from benchmarks.prompts import PASSAGES
from benchmarks.servers import HOST

if TYPE_CHECKING:
    from benchmarks.client import Client, Fields
    from benchmarks.servers import Ports

CLIENTS = 16

_PATIENCE = 600.0  # seconds in which any answer has to be there, also on a busy machine
_MAX_TOKENS, _LONG_MAX_TOKENS = 120, 600
_STOPS = (".", "\n", " the", ", and", "e")
_LEAVES, _IS_BAD, _IS_LONG = 0.2, 0.02, 0.25  # probabilities
_LEAVING_SECONDS = 6.0  # until a client that does not count events has left

_PREFIXES = tuple(
    "\n".join(PASSAGES[start:end]) for start, end in ((0, 1), (0, 4), (1, 3), (4, 7), (12, 14), (2, 8))
)
"""From about 50 tokens to about 400; the first two begin alike."""
_WORDS = sorted({word[:12] for passage in PASSAGES for word in passage.split()})
_BAD: tuple[dict[str, Any], ...] = (
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


@dataclass(slots=True)
class Tally:
    """What became of the requests of one door; each ends as one of the first four."""

    completed: int = 0
    cancelled: int = 0
    """Given up by their clients."""
    refused: int = 0
    """Bad ones, and refused as such."""
    errors: int = 0
    """Anything else."""
    completion_tokens: int = 0
    """Of those that were completed."""
    first_error: str | None = None

    def note_error(self, error: str) -> None:
        """Count something that should not have been."""
        self.errors += 1
        self.first_error = self.first_error or error

    @property
    def requests(self) -> int:
        """All of them."""
        return self.completed + self.cancelled + self.refused + self.errors


@dataclass(frozen=True, slots=True)
class Request:
    """One request, and how long its client waits for the answer."""

    fields: Fields
    is_bad: bool = False
    """Whether the server has to refuse it."""
    most_events: int | None = None
    """Leave after so many events."""
    patience: float | None = None
    """Leave after so many seconds."""

    def problem_of(self, events: list[Fields]) -> str | None:
        """Return what is wrong with a whole answer, or None."""
        n, most = self.fields["n"], self.fields["n"] * self.fields["max_tokens"]
        choices = [choice for event in events for choice in event["choices"] if choice["finish_reason"]]
        tokens = _completion_tokens(events)
        if sorted(choice["index"] for choice in choices) != list(range(n)):
            return f"of {n} choices, these ended: {choices}"
        if not {choice["finish_reason"] for choice in choices} <= {"stop", "length"}:
            return f"finish reasons of {choices}"
        return None if n <= tokens <= most else f"{tokens} tokens, not {n} to {most}"


def random_request(model: str, random: Random) -> Request:
    """Return a request of any kind that moves the KV cache; the same for the same state of ``random``."""
    prefix = random.choice((*_PREFIXES, ""))
    is_long = (
        random.random() < _IS_LONG
    )  # where some go on for longer than was foreseen, others are preempted
    fields: Fields = {
        "model": model,
        "prompt": " ".join((prefix, *random.choices(_WORDS, k=random.randrange(40)))),
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
    if streams := random.random() < 0.5:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    if random.random() < _IS_BAD:
        return Request(fields | random.choice(_BAD), is_bad=True)
    if random.random() >= _LEAVES:
        return Request(fields)
    if streams and random.random() < 0.5:
        return Request(fields, most_events=random.randint(1, 30))
    return Request(fields, patience=random.uniform(0, _LEAVING_SECONDS))


class Crowd:
    """All clients; every other one goes to the other door.

    Args:
        ports: Where the doors are.
        model: The name that the server answers to.
        seed: Decides what is asked.
    """

    def __init__(self, ports: Ports, model: str, seed: int) -> None:
        self._ports, self._model, self._seed = ports, model, seed
        self._tallies = {"http": Tally(), "grpc": Tally()}

    def ask(self, seconds: float) -> dict[str, Tally]:
        """Ask for so long, and finish what has been asked; return what became of it by door."""
        asyncio.run(self._ask_all(seconds))
        return self._tallies

    async def _ask_all(self, seconds: float) -> None:
        end = perf_counter() + seconds
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(self._ask_until(end, number))

    async def _ask_until(self, end: float, number: int) -> None:
        random = Random(f"{self._seed} {number}")  # noqa: S311 - not for secrets
        is_grpc = number % 2 == 1
        client = GrpcClient(HOST, self._ports.grpc) if is_grpc else HttpClient(HOST, self._ports.http)
        tally = self._tallies["grpc" if is_grpc else "http"]
        while perf_counter() < end:
            await _ask(client, random_request(self._model, random), tally)
        await client.close()


async def _ask(client: Client, request: Request, tally: Tally) -> None:
    """Ask one thing, and count what becomes of it."""
    try:
        async with asyncio.timeout(request.patience or _PATIENCE):
            events = await _events(client, request)
    except CallError as refusal:
        if request.is_bad and refusal.code == "invalid_request_error":
            tally.refused += 1
        else:
            tally.note_error(f"{refusal}, in answer to {request.fields}")
    except TimeoutError:
        if request.patience is None:
            tally.note_error(f"no answer within {_PATIENCE:.0f} s to {request.fields}")
        else:
            tally.cancelled += 1
    except Exception as error:  # whatever it is, it is what this run looks for
        tally.note_error(f"{type(error).__name__}: {error}")
    else:
        _count(events, request, tally)


async def _events(client: Client, request: Request) -> list[Fields]:
    """Return what came, up to where the client leaves."""
    events: list[Fields] = []
    async with aclosing(client.events(request.fields)) as arriving:
        async for event in arriving:
            events.append(client.read(event))
            if len(events) == request.most_events:
                break
    return events


def _count(events: list[Fields], request: Request, tally: Tally) -> None:
    if request.is_bad:
        tally.note_error(f"a bad request was answered: {request.fields}")
    elif len(events) == request.most_events:
        tally.cancelled += 1
    elif problem := request.problem_of(events):
        tally.note_error(f"{problem}, in the answer to {request.fields}")
    else:
        tally.completed += 1
        tally.completion_tokens += _completion_tokens(events)


def _completion_tokens(events: list[Fields]) -> int:
    return next((event["usage"]["completion_tokens"] for event in events[::-1] if event.get("usage")), 0)
