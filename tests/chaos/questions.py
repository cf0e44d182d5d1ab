"""Seeded requests, and what a quiet server answers to each."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Literal

from benchmarks.prompts import PASSAGES
from tests.answers import counted, joined

if TYPE_CHECKING:
    from benchmarks.client import Client, Fields

Way = Literal["http", "http stream", "grpc", "grpc stream"]
WAYS: tuple[Way, ...] = ("http", "http stream", "grpc", "grpc stream")
"""The ways to ask; a request has the same answer through all of them."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request, and the one answer that is right."""

    fields: Fields
    choices: list[Fields]
    usage: Fields

    @classmethod
    async def ask(cls, client: Client, fields: Fields) -> Question:
        """Ask a server that nobody else asks.

        Raises:
            CallError: it refused.
        """
        (answer,) = [client.read(event) async for event in client.events(fields)]
        return cls(fields, joined([answer]), counted(answer["usage"]))

    def fields_for(self, way: Way) -> Fields:
        """Return the request as it is sent some way."""
        if way in ("http", "grpc"):
            return self.fields
        return self.fields | {"stream": True, "stream_options": {"include_usage": True}}

    def is_answered_by(self, events: list[Fields]) -> bool:
        """Return True if the events are the right answer as a whole."""
        usages = [event["usage"] for event in events if event.get("usage")]
        return joined(events) == self.choices and [counted(usage) for usage in usages] == [self.usage]

    def may_begin_with(self, events: list[Fields]) -> bool:
        """Return True if the texts of the events are the beginning of the right answer."""
        right = {choice["index"]: choice["text"] for choice in self.choices}
        return all(right[told["index"]].startswith(told["text"]) for told in joined(events))


def seeded_requests(model: str, count: int, seed: int) -> list[Fields]:
    """Return requests of many kinds, each with a seed of its own."""
    random = Random(seed)  # noqa: S311 - not for secrets
    return [_request(model, random) for _ in range(count)]


def _request(model: str, random: Random) -> Fields:
    passage = random.choice(PASSAGES)
    begin = random.randrange(len(passage) // 2)
    fields: Fields = {
        "model": model,
        "prompt": passage[begin : begin + random.choice((40, 100, 400))],
        "max_tokens": random.randint(4, 16),
        "n": random.randint(1, 2),
        "temperature": random.choice((0.0, 0.7, 1.0)),
        "seed": random.getrandbits(32),
    }
    if random.random() < 0.5:
        fields["logprobs"] = random.randint(1, 5)  # with 0 the doors spell "no alternatives" differently
    if random.random() < 0.3:
        fields["stop"] = random.sample((".", "\n", " the"), 2)
    if random.random() < 0.2:
        fields["echo"] = True
    return fields
