"""What can be measured on real workers, simulated: conversations that take their turns in rounds.

All conversations send their next turn at once, in a random order, and wait for all answers. Which worker gets
which turn, and so how many tokens of prompts are computed, depends on no clock.

>>> rounds = Rounds(conversations=8, turns=6)
>>> rounds.total_tokens, rounds.fewest_computed
(22080, 2680)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.scale.simulation.costs import cpu
from benchmarks.scale.simulation.fleet import Fleet
from benchmarks.scale.simulation.scenarios import BOUND, make_router
from benchmarks.scale.simulation.trace import Request


@dataclass(frozen=True)
class Rounds:
    """The conversations; lengths are tokens.

    Attributes:
        conversations: How many there are.
        turns: How many each has.
        common: What all prompts begin with.
        first: What each says first.
        said: What it says later, each time.
        answer: What it is answered, each time.
    """

    conversations: int = 8
    turns: int = 6
    common: int = 80
    first: int = 120
    said: int = 40
    answer: int = 64

    def prompt(self, turn: int) -> int:
        """Return the tokens of a prompt; the first turn is 0."""
        return self.common + self.first + turn * (self.said + self.answer)

    @property
    def total_tokens(self) -> int:
        """Tokens of all prompts."""
        return self.conversations * sum(self.prompt(turn) for turn in range(self.turns))

    @property
    def fewest_computed(self) -> int:
        """Tokens that one cache for all would leave to be computed, had each prompt found the one before."""
        later = (self.turns - 1) * (self.said + 1)  # the last token of an answer is not in the cache yet
        return self.common + self.conversations * (self.first + later)


def prompt_tokens(router: str, rounds: Rounds, *, workers: int = 4, seed: int = 1) -> int:
    """Return how many tokens of prompts are computed behind a router, a key of ``ROUTERS``."""
    trace = _Turns(rounds, seed)
    fleet = Fleet(
        cpu(),
        workers,
        make_router(router, workers, seed, rounds.common),
        trace,
        n_common=rounds.common,
        knows_all=router == BOUND,
    )
    answered = fleet.run(begins=0.0, ends=float("inf")).requests
    return sum(request.prompt - request.cached for request in answered)


class _Turns:
    """Hands out the turns of one round, then those of the next."""

    def __init__(self, rounds: Rounds, seed: int) -> None:
        self._rounds = rounds
        self._rng = np.random.default_rng(seed)
        self._turn = 0
        self._n_answered = 0
        self._waiting: list[Request] = []
        self._begin(0.0)

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def next_arrival(self) -> float:
        return self._waiting[-1].arrival

    def pop(self) -> Request:
        return self._waiting.pop()

    def answered(self, request: Request) -> None:
        self._n_answered += 1
        if self._n_answered == self._rounds.conversations:
            self._turn += 1
            self._n_answered = 0
            if self._turn < self._rounds.turns:
                self._begin(request.done)

    def _begin(self, now: float) -> None:
        rounds, turn = self._rounds, self._turn
        known = rounds.prompt(turn) - rounds.said if turn else rounds.common
        self._waiting = [
            Request(int(each), rounds.prompt(turn), rounds.answer, now, known=known)
            for each in self._rng.permutation(rounds.conversations)
        ]
