"""The sides of one model: started together, and taking turns at every load."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.remote import Remote
from benchmarks.servers import OURS, install_peers, running
from benchmarks.serving.results import CLIENTS, LOGPROBS, Row
from benchmarks.serving.turn import Clients, Turn, Work

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from benchmarks.servers import Door, Server, Setting

_WARM_UP = Work(seconds=1.0, clients=2)
_SHARE = 0.7  # the open loop's requests a second, as a part of those that the closed loop had answered


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done with each model."""

    clients: Sequence[int] = (1, 4, 8, 16, 32)  # of the closed loops
    seconds: float = 18.0  # in which requests are sent, in one turn
    rounds: int = 3  # of what has a goal
    prompt: int = 2000  # tokens of the long prompts in the scenarios


class Side(NamedTuple):
    """What takes turns with others: a door of a server, or the engine inside a client program."""

    server: str
    door: Door
    clients: Remote

    def perform(self, work: Work) -> Turn:
        """Take a turn."""
        turn: Turn = self.clients.call("perform", work)
        return turn


Sides = dict[int | None, list[Side]]
"""Log-probabilities that requests ask for, or None -> who takes turns at them, neighbours side by side."""


@contextmanager
def started(servers: Sequence[Server], setting: Setting, logs: Path) -> Iterator[Sides]:
    """Start and warm up all sides of one model, and stop them at the end of the context."""
    sides: Sides = {None: [], LOGPROBS: []}
    with ExitStack() as opened:
        for server in servers:
            if server.name != OURS:
                install_peers()
            plain = _start(server, setting, logs, opened)
            is_told = server.is_told_of_logprobs
            sides[None] += plain
            sides[LOGPROBS] += _start(server, setting, logs, opened, logprobs=True) if is_told else plain
        yield sides


def _start(
    server: Server, setting: Setting, logs: Path, opened: ExitStack, *, logprobs: bool = False
) -> list[Side]:
    log = logs / f"{server.name}{'-logprobs' * logprobs}.log"
    served = opened.enter_context(running(server, setting, log, logprobs=logprobs))
    sides = []
    for door in server.doors:
        clients = Remote(Clients, door, setting if door == "python" else served)
        opened.callback(clients.close)
        sides.append(Side(server.name, door, clients))
        sides[-1].perform(_WARM_UP)
    return sides


def closed_loops(plan: Plan, sides: Sides) -> Iterator[tuple[Work, list[Side]]]:
    """Yield each closed loop, with the sides in the order of their turns.

    What the goals are about comes first, in all rounds; every second round is backwards, so that what drifts
    favours nobody. The rest is one round of the sides that are asked over HTTP.
    """
    if CLIENTS in plan.clients:
        for logprobs, group in sides.items():
            rounds = [group if number % 2 == 0 else group[::-1] for number in range(plan.rounds)]
            yield Work(plan.seconds, CLIENTS, logprobs=logprobs), list(chain(*rounds))
    for clients in plan.clients:
        if clients != CLIENTS:
            yield Work(plan.seconds, clients), [side for side in sides[None] if side.door == "http"]


def measure(sides: Sides, plan: Plan, found: list[Row]) -> Iterator[Row]:
    """Yield each row when it is complete: the closed loops, and then an open one for each door.

    A row is among those found from its first turn on: nothing is lost when a run is interrupted.
    """
    closed: dict[Side, Row] = {}
    for work, turns in closed_loops(plan, sides):
        rows: dict[Side, Row] = {}
        for side in turns:
            turn = side.perform(work)
            if side not in rows:
                rows[side] = Row(side.server, side.door, work, [])
                found.append(rows[side])
            rows[side].turns.append(turn)
        closed = rows | closed  # a side's first loop stays
        yield from rows.values()
    for side in sides[None]:
        if side.door != "python" and side in closed and (answered := closed[side].requests_per_s):
            work = Work(plan.seconds, requests_per_s=_SHARE * answered)
            found.append(Row(side.server, side.door, work, [side.perform(work)]))
            yield found[-1]
