"""What the clients ask: random, the same for the same seed, and of every kind that moves the KV cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.prompts import PASSAGES

if TYPE_CHECKING:
    from random import Random

_MAX_TOKENS, _LONG_MAX_TOKENS = 120, 600
_MOST_CHOICES = 3
_USERS = 5
_STOPS = (".", "\n", " the", ", and", "e")
_LEAVES, _IS_BAD, _IS_LONG = 0.2, 0.02, 0.25  # probabilities
_SECONDS = 6.0  # until a client that does not count parts has left

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


@dataclass(frozen=True, slots=True)
class Request:
    """One request, and how long its client waits for the answer."""

    fields: dict[str, Any]
    """The contract's, but for ``stream``."""
    streams: bool
    is_bad: bool = False
    """Whether the server has to refuse it."""
    most_parts: int | None = None
    """Leave after so many parts."""
    patience: float | None = None
    """Leave after so many seconds."""

    @property
    def n(self) -> int:
        """How many choices it asks for."""
        return int(self.fields["n"])

    @property
    def most_tokens(self) -> int:
        """The most tokens that its answer may have."""
        return self.n * int(self.fields["max_tokens"])


class Requests:
    """An endless supply.

    Args:
        model: The name that the server answers to.
        random: Decides everything.
    """

    def __init__(self, model: str, random: Random) -> None:
        self._model = model
        self._random = random

    def next(self) -> Request:
        """Return the next request."""
        random, fields = self._random, self._fields()
        streams = random.random() < 0.5
        if random.random() < _IS_BAD:
            bad = {**fields, **random.choice(_BAD)}
            return Request(
                {name: value for name, value in bad.items() if value is not None}, streams, is_bad=True
            )
        if random.random() >= _LEAVES:
            return Request(fields, streams)
        if streams and random.random() < 0.5:
            return Request(fields, streams, most_parts=random.randint(1, 30))
        return Request(fields, streams, patience=random.uniform(0, _SECONDS))

    def _fields(self) -> dict[str, Any]:
        random = self._random
        fields: dict[str, Any] = {
            "model": self._model,
            "prompt": self._prompt(),
            "max_tokens": self._max_tokens(),
            "n": random.randint(1, _MOST_CHOICES),
            "temperature": random.choice((0.0, 0.7, 1.0)),
            "user": f"user {random.randrange(_USERS)}",
        }
        if random.random() < 0.5:
            fields["logprobs"] = random.randint(0, 5)
        if random.random() < 0.3:
            fields["stop"] = random.sample(_STOPS, random.randint(1, 2))
        if random.random() < 0.3:
            fields["seed"] = random.getrandbits(32)
        return fields

    def _max_tokens(self) -> int:
        """Mostly few; where some go on for longer than was foreseen, others are preempted."""
        if self._random.random() < _IS_LONG:
            return self._random.randint(_MAX_TOKENS, _LONG_MAX_TOKENS)
        return self._random.randint(1, _MAX_TOKENS)

    def _prompt(self) -> str:
        random = self._random
        prefix = random.choice((*_PREFIXES, ""))
        return " ".join((prefix, *random.choices(_WORDS, k=random.randrange(40))))
