"""What is measured of each gateway: throughput, first tokens, and what conversations cost."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.machine import Figure
from benchmarks.remote import Remote
from benchmarks.scale.clients import Clients
from benchmarks.scale.fleet import DIRECT, GROUPS, Side, behind_smg, fleet_of
from benchmarks.servers import ServerError
from benchmarks.serving.turn import Work

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from benchmarks.scale.clients import Computed
    from benchmarks.servers import Running, Setting
    from benchmarks.serving.turn import Turn

WORKERS = 2
"""Of the throughput and the first token."""
MANY = 4
"""Of the conversations."""
CONVERSATIONS, TURNS = 8, 6
CACHE_AWARE, ROUND_ROBIN, ONE = "cache_aware", "round_robin", "one worker"

_WARM_UP = Work(seconds=2.0, clients=4)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    clients: int = 8  # of the closed loop
    seconds: float = 30.0  # of each of its turns
    rounds: int = 5
    first_tokens: int = 150  # in each round

    @property
    def minutes(self) -> float:
        """About how long it takes on two quiet cores."""
        turns = self.rounds * sum(map(len, GROUPS)) * (self.seconds + 3 + 0.06 * self.first_tokens)
        return (turns + self.rounds * 3 * 60 + 30) / 60


@dataclass
class Taken:
    """What was found of one side."""

    side: Side
    turns: list[Turn] = field(default_factory=list)
    first_tokens: list[list[float]] = field(default_factory=list)
    """Milliseconds, of each round."""

    @property
    def tokens_per_s(self) -> float:
        """The median of the rounds that count.

        Raises:
            ServerError: no tokens came.
        """
        figure = Figure.of([(turn.tokens_per_s, turn.elsewhere) for turn in self.turns])
        if figure is None or not figure.value:
            errors = [turn.first_error for turn in self.turns if turn.first_error]
            raise ServerError(
                f"no tokens came through {self.side.name}: {errors or 'longer loops are needed'}"
            )
        return figure.value

    def first_token(self, percent: float) -> float:
        """Return the median over the rounds of a percentile, in milliseconds."""
        return float(np.median([np.percentile(found, percent) for found in self.first_tokens]))


class Conversations(NamedTuple):
    """What the same conversations came to with one way of choosing workers."""

    policy: str
    rounds: list[Computed]

    @property
    def computed(self) -> float:
        """The median of the prompt tokens that were computed."""
        return float(np.median([found.computed for found in self.rounds]))


def measure_sides(setting: Setting, plan: Plan, logs: Path, sides: Sequence[Side]) -> Iterator[Taken]:
    """Let the sides take turns before the same servers; yield each as soon as all rounds are over."""
    with fleet_of(WORKERS, setting, logs) as fleet, ExitStack() as opened:
        taken = [Taken(side) for side in sides]
        clients = [opened.enter_context(_clients(side, fleet, logs)) for side in sides]
        pairs = list(zip(taken, clients, strict=True))
        for _, program in pairs:
            program.call("perform", _WARM_UP)
        for number in range(plan.rounds):  # every second round backwards: what drifts favours nobody
            for found, program in pairs if number % 2 == 0 else pairs[::-1]:
                found.turns.append(program.call("perform", Work(plan.seconds, plan.clients)))
                found.first_tokens.append(program.call("first_tokens", plan.first_tokens))
        yield from taken


def measure_conversations(setting: Setting, plan: Plan, logs: Path) -> Iterator[Conversations]:
    """Hold the same conversations before fresh servers, with each way of choosing among them."""
    large = setting._replace(slots=setting.slots * MANY, context=setting.context * MANY)
    ways = (
        (CACHE_AWARE, Side(CACHE_AWARE, behind_smg("--policy", CACHE_AWARE)), MANY, setting),
        (ROUND_ROBIN, Side(ROUND_ROBIN, behind_smg("--policy", ROUND_ROBIN)), MANY, setting),
        (ONE, DIRECT, 1, large),
    )
    for policy, side, workers, each in ways:
        found = []
        for _ in range(plan.rounds):
            with fleet_of(workers, each, logs) as fleet, _clients(side, fleet, logs) as program:
                found.append(program.call("converse", CONVERSATIONS, TURNS))
        yield Conversations(policy, found)


@contextmanager
def _clients(side: Side, fleet: Sequence[Running], logs: Path) -> Iterator[Remote]:
    """Start a side and the program that asks it."""
    with side.open(fleet, logs / f"{side.name}.log") as front:
        pids = [
            *(server.pid for server in fleet),
            *([] if front.pid is None else [front.pid]),
            *front.more_pids,
        ]
        program = Remote(Clients, fleet[0].model, front.ports, pids)
        try:
            yield program
        finally:
            program.close()
