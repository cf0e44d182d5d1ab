"""A server that runs for as long as it is needed, and is started again when it has to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from benchmarks.serving.process import Running, free_port

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from benchmarks.serving.server import Server, Setting


class Host:
    """Use it as a context manager, or call :meth:`stop`.

    Args:
        server: What is run.
        setting: What it is given.
        log: File for what it prints.
        logprobs: Whether log-probabilities will be asked for.
    """

    def __init__(self, server: Server, setting: Setting, log: Path, *, logprobs: bool) -> None:
        self._server = server
        self._setting = setting
        self._log = log
        self._logprobs = logprobs
        self._running: Running | None = None

    @property
    def pid(self) -> int | None:
        """Its process, if it runs."""
        return self._running.pid if self._running else None

    def running(self) -> Running:
        """Return the server, on free ports, and start it if it does not run.

        Raises:
            ServerError: it did not start.
        """
        if self._running and not self._running.is_alive:
            self.stop()
        if not self._running:
            ports = free_port(), free_port()
            command = self._server.command(self._setting, *ports, logprobs=self._logprobs)
            self._running = Running.start(command, *ports, self._log)
        return self._running

    def stop(self) -> None:
        """Stop the server, if it runs."""
        if self._running:
            self._running.stop()
        self._running = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
