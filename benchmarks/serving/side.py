"""What takes turns with others: a door of a server, or the engine inside a client program."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from benchmarks.serving.driver import Driver
from benchmarks.serving.job import Job, Outcome, Work
from benchmarks.serving.process import ServerError, cpu_seconds
from benchmarks.serving.server import OURS
from engine.loading.models import locate

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.serving.host import Host
    from benchmarks.serving.job import Door
    from benchmarks.serving.server import Setting

_WARM_UP = Work(seconds=1.0, clients=2, max_tokens=8)
_REST_SECONDS = 10.0
_LOOK_SECONDS = 0.3


class Side(ABC):
    """One door, with a client program of its own.

    Args:
        server: The server's name.
        door: Which of its doors.
        driver: The client program.
    """

    def __init__(self, server: str, door: Door, driver: Driver) -> None:
        self.server = server
        self.door = door
        self._driver = driver
        self._warm: int | None = None  # the engine's process that has been warmed up

    @property
    def pids(self) -> set[int]:
        """The processes that run for it."""
        return set() if self._driver.pid is None else {self._driver.pid}

    def busy_seconds(self) -> float:
        """Return the processor time that its processes have taken."""
        return sum(cpu_seconds(pid) or 0.0 for pid in self.pids)

    def warm_up(self) -> None:
        """Start what does not run, and ask for some tokens that nobody counts.

        Raises:
            ServerError: it did not start, or ended.
        """
        pid = self._start()
        if pid != self._warm:
            self._driver.perform(self._job(_WARM_UP))
            self._warm = pid

    def perform(self, work: Work) -> Outcome:
        """Take a turn.

        It lasts until the engine is idle again: what it still does for clients that have left must burden
        nobody's turn. One that does not come to rest is started again before its next one.
        """
        try:
            self.warm_up()
            outcome = self._driver.perform(self._job(work))
        except ServerError as error:
            return Outcome.failed(str(error))
        if outcome.summary.cut and not self._comes_to_rest():
            self._stop()
        return outcome

    def close(self) -> None:
        """End the client program."""
        self._driver.close()

    def _comes_to_rest(self) -> bool:
        """Wait until the processes are idle; False if that takes too long."""
        limit = time.monotonic() + _REST_SECONDS
        while time.monotonic() < limit:
            before = self.busy_seconds()
            time.sleep(_LOOK_SECONDS)
            if self.busy_seconds() - before < 0.1 * _LOOK_SECONDS:
                return True
        return False

    @abstractmethod
    def _start(self) -> int:
        """Start the engine if it does not run; return its process."""

    @abstractmethod
    def _stop(self) -> None:
        """End the engine."""

    @abstractmethod
    def _job(self, work: Work) -> Job:
        """Return the job for the client program."""


class WireSide(Side):
    """A door of a server in a process of its own, which other doors may share.

    Args:
        host: The server; whoever made it stops it.
        server: Its name.
        door: Which of its doors.
        log: File for what the client program complains of.
    """

    def __init__(self, host: Host, server: str, door: Door, log: Path) -> None:
        super().__init__(server, door, Driver([sys.executable, "-m", "benchmarks.serving.client"], log))
        self._host = host

    @property
    def pids(self) -> set[int]:
        """The server's too."""
        return super().pids | (set() if self._host.pid is None else {self._host.pid})

    def _start(self) -> int:
        return self._host.running().pid

    def _stop(self) -> None:
        self._host.stop()

    def _job(self, work: Work) -> Job:
        running = self._host.running()
        port = running.grpc_port if self.door == "grpc" else running.http_port
        return Job(work, self.door, running.model, port, running.pid)


class PythonSide(Side):
    """Our engine in the client's own process, loaded as the server loads it.

    Args:
        setting: What it is given.
        log: File for what it prints.
    """

    def __init__(self, setting: Setting, log: Path) -> None:
        program = [sys.executable, "-m", "benchmarks.serving.python_client", str(setting.model)]
        numbers = map(str, (setting.context, setting.slots, setting.threads))
        super().__init__(OURS, "python", Driver([*program, *numbers], log))
        self._model = locate(str(setting.model)).name

    def _start(self) -> int:
        return self._driver.start()

    def _stop(self) -> None:
        self._driver.close()

    def _job(self, work: Work) -> Job:
        return Job(work, self.door, self._model)
