"""All sides of one model: loaded, warm, and waiting for their turns."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from benchmarks.serving.host import Host
from benchmarks.serving.process import ServerError
from benchmarks.serving.side import PythonSide, Side, WireSide

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from benchmarks.serving.server import Server, Setting

_WATCHED_SECONDS = 3.0


class Stage:
    """Use it as a context manager: entering it starts everything, and leaving it stops all that.

    Args:
        servers: The servers, in the order of their turns.
        setting: What they are given.
        logs: Folder for what they print.
    """

    def __init__(self, servers: Sequence[Server], setting: Setting, logs: Path) -> None:
        self.absent: dict[str, str] = {}
        """Server -> why it is not here."""
        self._servers = servers
        self._setting = setting
        self._logs = logs
        self._sides: dict[bool, list[Side]] = {False: [], True: []}  # without, and with log-probabilities
        self._open = ExitStack()

    def sides(self, *, logprobs: bool, http_only: bool = False) -> list[Side]:
        """Return those that take turns in one round, neighbours side by side."""
        return [side for side in self._sides[logprobs] if not http_only or side.door == "http"]

    def idle(self) -> dict[str, float]:
        """Watch for some seconds how many processors each side takes while nobody asks it anything."""
        sides = {side for sides in self._sides.values() for side in sides}
        began, before = time.perf_counter(), {side: side.busy_seconds() for side in sides}
        time.sleep(_WATCHED_SECONDS)
        seconds = time.perf_counter() - began
        found: dict[str, float] = {}
        for side in sides:
            name = f"{side.server}, {side.door}"
            found[name] = max(found.get(name, 0.0), (side.busy_seconds() - before[side]) / seconds)
        return {name: round(found[name], 3) for name in sorted(found)}

    def __enter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        with ExitStack() as opening:
            for server in self._servers:
                try:
                    self._add(server, opening)
                except ServerError as error:
                    self.absent[server.name] = str(error)
            self._open = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def _add(self, server: Server, opening: ExitStack) -> None:
        """Start a server, and another one of it if that is what log-probabilities take."""
        server.prepare()
        sides = self._started(server, opening, logprobs=False)
        scored = self._started(server, opening, logprobs=True) if server.is_told_of_logprobs else sides
        self._sides[False] += sides
        self._sides[True] += scored

    def _started(self, server: Server, opening: ExitStack, *, logprobs: bool) -> list[Side]:
        name = f"{server.name}-logprobs" if logprobs else server.name
        host = opening.enter_context(
            Host(server, self._setting, self._logs / f"{name}.log", logprobs=logprobs)
        )
        sides: list[Side] = []
        for door in server.doors:
            log = self._logs / f"{name}-{door}-client.log"
            if door == "python":
                sides.append(PythonSide(self._setting, log))
            else:
                sides.append(WireSide(host, server.name, door, log))
            opening.callback(sides[-1].close)
            sides[-1].warm_up()
        return sides
