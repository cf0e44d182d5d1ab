"""Requests of the shape of a public trace.

``trace_shape.json`` says of which, and how it was read: how long first prompts, later turns and answers are,
when the next turn of a conversation comes, how many turns it has, and how bursty arrivals are. Lengths are
divided by a number, so that they fit into the context of a small model; prefixes keep their share.
"""

from __future__ import annotations

import heapq
import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

_FILE = Path(__file__).with_name("trace_shape.json")
_HISTORY = 2_400.0
"""Seconds before the beginning in which conversations begin that go on after it; the longest gap is 2,030."""
_SHORTEST_TURN = 2
"""Tokens that a turn adds at least."""


@dataclass(eq=False, slots=True)
class Request:
    """One turn of a conversation.

    Attributes:
        conversation: Whose stream of tokens the prompt is the beginning of.
        prompt: Tokens of the prompt.
        output: Tokens of the answer.
        arrival: Seconds; when its client sent it.
        known: Tokens of the prompt that were part of the turn before, or are common to all.
        n_sent: Tokens of the answer that a worker sent before it died; part of the prompt since.
        first_token: When the first token was there.
        done: When the last one was.
        cached: Tokens of the prompt that were not computed.
        n_retries: How often a worker died under it.
        first_prompt: Tokens of the prompt as it was sent.
    """

    conversation: int
    prompt: int
    output: int
    arrival: float
    known: int = 0
    n_sent: int = 0
    first_token: float = -1.0
    done: float = -1.0
    cached: int = 0
    n_retries: int = 0
    first_prompt: int = field(init=False)

    def __post_init__(self) -> None:
        self.first_prompt = self.prompt


@dataclass(frozen=True)
class Shape:
    """What ``trace_shape.json`` says, divided by ``scale``.

    Attributes:
        scale: By what lengths are divided.
        hurry: By what the time between turns is divided: 1 for people, more for programs.
        context: Most tokens of a prompt and its answer.
    """

    scale: int = 8
    hurry: float = 1.0
    context: int = 8_192
    data: dict[str, Any] = field(default_factory=lambda: json.loads(_FILE.read_text(encoding="utf-8")))

    @property
    def n_common(self) -> int:
        """Tokens with which every prompt begins."""
        return int(self.data["common_tokens"]) // self.scale

    @property
    def first_share(self) -> float:
        """The part of requests that begin a conversation."""
        again, later = self.data["again_after_first"], self.data["again_after_later"]
        return float(1 / (1 + again / (1 - later)))


class Turn(NamedTuple):
    """What a conversation goes on with."""

    tokens: int
    """What it adds to the prompt before: the answer to that, and what the client says."""
    answer: int
    gap: float
    """Seconds after the turn before."""


class Requests(Protocol):
    """Hands out requests in the order in which they come."""

    def __bool__(self) -> bool: ...

    @property
    def next_arrival(self) -> float:
        """When the next request comes."""

    def pop(self) -> Request:
        """Remove and return the next request."""

    def answered(self, request: Request) -> None:
        """Learn that a request was answered: others may follow it."""


class Trace:
    """Draws conversations, and hands out their turns in order.

    Args:
        shape: What they look like.
        rate: Requests each second, on average.
        seconds: For how long new requests come.
        seed: The same seed gives the same conversations, whatever becomes of them.

    A turn that a client would send before it has the last answer waits for that: :meth:`answered` must be
    called for each request.
    """

    def __init__(self, shape: Shape, *, rate: float, seconds: float, seed: int) -> None:
        self._shape = shape
        self._seconds = seconds
        self._order = itertools.count()
        self._waiting: list[tuple[float, int, Request]] = []
        self._turns: dict[int, list[Turn]] = {}
        rng = np.random.default_rng(seed)
        draw = {
            name: _Quantiles(shape.data[name]["quantiles"], rng)
            for name in ("first_prompt", "turn", "answer", "gap")
        }
        begins = self._begins(rate * shape.first_share, rng)
        for conversation, begin in enumerate(begins):
            turns = self._draw_turns(rng, draw)
            if begin < 0 and not turns:
                continue
            self._turns[conversation] = turns
            prompt = max(self._length(draw["first_prompt"]), shape.n_common + _SHORTEST_TURN)
            answer = self._answer(draw["answer"])
            prompt = min(prompt, shape.context - answer)
            self._queue(Request(conversation, prompt, answer, begin, known=shape.n_common))

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def next_arrival(self) -> float:
        """When the next request comes."""
        return self._waiting[0][0]

    def pop(self) -> Request:
        """Remove and return the next request."""
        return heapq.heappop(self._waiting)[2]

    def answered(self, request: Request) -> None:
        """Let the conversation go on, if it has another turn."""
        self._go_on(request)

    def _go_on(self, request: Request) -> None:
        turns = self._turns[request.conversation]
        if turns:
            turn = turns.pop()
            stream = request.first_prompt + request.output
            prompt = max(request.first_prompt + turn.tokens, stream + _SHORTEST_TURN)
            arrival = max(request.arrival + turn.gap, request.done)
            self._queue(Request(request.conversation, prompt, turn.answer, arrival, known=stream))
        else:
            del self._turns[request.conversation]

    def _begins(self, rate: float, rng: np.random.Generator) -> Iterator[float]:
        """Yield when conversations begin: bursts in windows, with the trace's variance over mean."""
        window, excess = self._shape.data["window_seconds"], self._shape.data["dispersion"] - 1
        at = -_HISTORY / self._shape.hurry
        while at < self._seconds:
            expected = rng.gamma(rate * window / excess) * excess
            yield from (at + window * rng.random(rng.poisson(expected))).tolist()
            at += window

    def _draw_turns(self, rng: np.random.Generator, draw: dict[str, _Quantiles]) -> list[Turn]:
        """Return the turns after the first, the last one first."""
        turns: list[Turn] = []
        again = self._shape.data["again_after_first"]
        while rng.random() < again:
            gap = draw["gap"]() / self._shape.hurry
            turns.append(Turn(self._length(draw["turn"]), self._answer(draw["answer"]), gap))
            again = self._shape.data["again_after_later"]
        return turns[::-1]

    def _queue(self, request: Request) -> None:
        """Queue a request; go on to the turn after it if it comes before the beginning."""
        fits = request.prompt + request.output <= self._shape.context
        if not fits or request.arrival >= self._seconds:
            del self._turns[request.conversation]
        elif request.arrival < 0:
            request.done = request.arrival
            self._go_on(request)
        else:
            heapq.heappush(self._waiting, (request.arrival, next(self._order), request))

    def _answer(self, draw: _Quantiles) -> int:
        return min(self._length(draw), self._shape.context // 4)

    def _length(self, draw: _Quantiles) -> int:
        return max(round(draw() / self._shape.scale), 1)


class _Quantiles:
    """Draws from a distribution of known quantiles, on straight lines between their logarithms."""

    def __init__(self, quantiles: dict[str, float], rng: np.random.Generator) -> None:
        self._shares = np.array([float(share) for share in quantiles])
        self._logs = np.log(np.array(list(quantiles.values())))
        self._rng = rng
        self._drawn: list[float] = []

    def __call__(self) -> float:
        if not self._drawn:
            shares = self._rng.random(4_096)
            self._drawn = np.exp(np.interp(shares, self._shares, self._logs)).tolist()
        return self._drawn.pop()
