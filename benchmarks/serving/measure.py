"""The sides of one model, which take turns at every load."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.machine import cpu_seconds
from benchmarks.remote import Remote, RemoteError
from benchmarks.servers import OURS, ServerError, install_peers, running
from benchmarks.serving.results import CLIENTS, LOGPROBS, Row
from benchmarks.serving.turn import Clients, Turn, Work

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from benchmarks.servers import Door, Server, Setting
    from benchmarks.serving.results import Results

_WARM_UP = Work(seconds=1.0, clients=2, max_tokens=8)
_REST_SECONDS = 30.0
_LOOK_SECONDS = 0.3
_WATCHED_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Side:
    """What takes turns with others: a door of a server, or the engine inside a client program."""

    server: str
    door: Door
    clients: Remote
    pids: frozenset[int]
    """The processes that run for it."""

    def perform(self, work: Work) -> Turn:
        """Take a turn.

        It lasts until the engine is idle again: what it still does for clients that have left must burden
        nobody's turn.
        """
        try:
            turn: Turn = self.clients.call("perform", work)
        except RemoteError as error:
            return Turn(errors=1, first_error=str(error))
        limit, idle = time.monotonic() + _REST_SECONDS, not turn.cut
        while not idle and time.monotonic() < limit:
            before = self.busy_seconds()
            time.sleep(_LOOK_SECONDS)
            idle = self.busy_seconds() - before < 0.1 * _LOOK_SECONDS
        return turn

    def busy_seconds(self) -> float:
        """Return the processor time that its processes have taken."""
        return sum(cpu_seconds(pid) or 0.0 for pid in self.pids)


class Sides:
    """All sides of one model, loaded and warm.

    Attributes:
        plain: Those that take turns without log-probabilities, neighbours side by side.
        scored: Those that do with them.
    """

    def __init__(self) -> None:
        self.plain: list[Side] = []
        self.scored: list[Side] = []

    def idle(self) -> dict[str, float]:
        """Watch for some seconds how many processors each side takes while nobody asks it anything."""
        before = [(side, side.busy_seconds()) for side in (*self.plain, *self.scored)]
        time.sleep(_WATCHED_SECONDS)
        found: dict[str, float] = {}
        for side, seconds in before:
            name = f"{side.server}, {side.door}"
            processors = round((side.busy_seconds() - seconds) / _WATCHED_SECONDS, 3)
            found[name] = max(found.get(name, 0.0), processors)
        return dict(sorted(found.items()))


@contextmanager
def sides_of(
    servers: Sequence[Server], setting: Setting, logs: Path, absent: dict[str, str]
) -> Iterator[Sides]:
    """Start everything, and stop it at the end of the context.

    Args:
        servers: In the order of their turns.
        setting: What they are given.
        logs: Folder for what they print.
        absent: Where a server that cannot be had is noted, with the reason.
    """
    sides = Sides()
    with ExitStack() as opened:
        for server in servers:
            try:
                if server.name != OURS:
                    install_peers()
                plain = _start(server, setting, logs, opened)
                scored = plain
                if server.is_told_of_logprobs:
                    scored = _start(server, setting, logs, opened, logprobs=True)
            except (ServerError, RemoteError) as error:
                absent[server.name] = str(error)
                continue
            sides.plain += plain
            sides.scored += scored
        yield sides


def _start(
    server: Server, setting: Setting, logs: Path, opened: ExitStack, *, logprobs: bool = False
) -> list[Side]:
    log = logs / f"{server.name}{'-logprobs' * logprobs}.log"
    served = opened.enter_context(running(server, setting, log, logprobs=logprobs))
    sides: list[Side] = []
    for door in server.doors:
        clients = Remote(Clients, door, setting if door == "python" else served)
        opened.callback(clients.close)
        pids = {clients.pid} if door == "python" else {clients.pid, served.pid}
        sides.append(Side(server.name, door, clients, frozenset(pids)))
        sides[-1].perform(_WARM_UP)
    return sides


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done with each model."""

    clients: Sequence[int]
    """The closed loops."""
    share: float
    """The open loop's requests a second, as a part of those of the closed loop that the goals are about."""
    seconds: float
    """How long requests are sent in one turn."""
    rounds: int
    """How often the loop that the goals are about is measured; with and without log-probabilities."""

    def expected_seconds(self) -> float:
        """Return about how long one model takes with all servers, on the machine of docs/performance.md."""
        turns = 2 * 5 * self.rounds + 3 * (len(self.clients) - 1) + 4
        return 40.0 + turns * (self.seconds + 1.5)


def measure(sides: Sides, model: str, plan: Plan, results: Results) -> Iterator[Row]:
    """Yield each row when it is complete: what the goals are about, the other closed loops, the open one.

    A row is in the results from its first turn on: nothing is lost when a run is interrupted.
    """
    over_http = [side for side in sides.plain if side.door == "http"]
    loops: list[tuple[int, int | None, list[Side], int]] = [
        (clients, None, over_http, 1) for clients in plan.clients if clients != CLIENTS
    ]
    if CLIENTS in plan.clients:
        loops = [
            (CLIENTS, None, sides.plain, plan.rounds),
            (CLIENTS, LOGPROBS, sides.scored, plan.rounds),
            *loops,
        ]
    first: dict[tuple[str, str], Row] = {}
    for clients, logprobs, taking_turns, rounds in loops:
        work = Work(plan.seconds, clients, logprobs=logprobs)
        rows = [Row(model, side.server, side.door, work) for side in taking_turns]
        results.rows += rows
        turns = list(zip(taking_turns, rows, strict=True))
        for number in range(rounds):  # every second one backwards: what drifts favours nobody
            for side, row in turns if number % 2 == 0 else reversed(turns):
                row.turns.append(side.perform(work))
        for row in rows:
            first.setdefault((row.server, row.door), row)
        yield from rows
    for side in sides.plain:
        closed = first.get((side.server, side.door))
        rate = plan.share * closed.requests_per_s if closed else 0.0
        if rate > 0 and side.door != "python":
            row = Row(model, side.server, side.door, Work(plan.seconds, rate=rate))
            results.rows.append(row)
            row.turns.append(side.perform(row.work))
            yield row
