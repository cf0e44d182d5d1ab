"""Servers of one thread each, which a test stops, kills and starts again."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

from benchmarks.gateways import smg_command
from benchmarks.servers import HOST, Ports, free_port
from tests.chaos.server import read_metrics
from tests.process import PATIENCE, nucleus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.process import Serving

IS_MISSING = smg_command() is None
REASON = "SMG is not installed; make test installs it into build/clients/smg"
FLAGS = ("--threads", 1, "--speculation", "off", "--prefix-cache", "on", "--log-level", "info")


class Worker:
    """A process that serves, always at the same address.

    Args:
        *flags: More of its flags.
        log: The file that its log goes to.
        environment: What is added to its environment.
        scheme: ``https`` for one with a certificate.
    """

    def __init__(
        self,
        *flags: object,
        log: Path,
        environment: Mapping[str, str] | None = None,
        scheme: str = "http",
    ) -> None:
        self.port = free_port()
        self.url = f"{scheme}://{HOST}:{self.port}"
        self.log = log
        self._flags, self._environment = flags, environment
        self._stack = ExitStack()
        self._serving: Serving | None = None

    def start(self) -> Worker:
        """Start the process; return when it is ready."""
        flags = (*FLAGS, *self._flags, "--http-port", self.port)
        output = self._stack.enter_context(self.log.open("ab"))
        started = nucleus(*flags, environment=self._environment, stderr=output.fileno())
        self._serving = self._stack.enter_context(started)
        return self

    def stop(self) -> None:
        """Let it do nothing, as on a machine that hangs: its connections stay open."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it do what it was about to do."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, as if the machine had lost its power; return when it has ended."""
        self._signal(signal.SIGKILL)
        self._running.process.wait(PATIENCE)
        self.close()

    def terminate(self) -> None:
        """Ask it to end."""
        self._running.signal()

    def end(self) -> None:
        """Wait until it has ended well."""
        self._running.end()
        self.close()

    def close(self) -> None:
        """Make sure that there is no process."""
        self._stack.close()
        self._serving = None

    @property
    def is_running(self) -> bool:
        """Return True if there is a process."""
        return self._serving is not None

    def metric(self, name: str) -> float:
        """Return a number that it tells of itself."""
        return read_metrics(Ports(self.port, 0))[f"nucleus_{name}"]

    @property
    def _running(self) -> Serving:
        assert self._serving is not None, "it was never started, or has ended"
        return self._serving

    def _signal(self, number: signal.Signals) -> None:
        self._running.process.send_signal(number)


def start_all(workers: Sequence[Worker]) -> None:
    """Start all that do not run, at once."""
    missing = [worker for worker in workers if not worker.is_running]
    with ThreadPoolExecutor(max(len(missing), 1)) as pool:
        list(pool.map(Worker.start, missing))
