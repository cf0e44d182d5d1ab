"""Processor time while something is measured: the client's, the server's, and everybody else's."""

from __future__ import annotations

import time
from typing import NamedTuple

from benchmarks.report import Elsewhere
from benchmarks.serving.process import cpu_seconds


class Spent(NamedTuple):
    """What a meter read."""

    client: float
    """Seconds of processor time of this process, or of this thread if the engine is in the process too."""
    server: float | None
    """Seconds of processor time of the server, or None where the system does not tell."""
    elsewhere: float | None
    """Processors that neither of them had, on average: other programs', and those that the host took away."""


class Meter:
    """Runs from when it is made.

    Args:
        pid: The server's process, or None if it is this one.
    """

    def __init__(self, pid: int | None) -> None:
        self._pid = pid
        self._start = self._client(), self._server(), time.perf_counter()
        self._watch = Elsewhere()

    def read(self) -> Spent:
        """Return what was spent since the start."""
        client, server, began = self._start
        now, others = self._server(), self._watch.processors()
        own = self._client() - client
        if server is None or now is None:
            return Spent(own, None, None)
        if others is not None and self._pid is not None:
            others = max(0.0, others - (now - server) / (time.perf_counter() - began))
        return Spent(own, now - server, others)

    def _client(self) -> float:
        return time.thread_time() if self._pid is None else time.process_time()

    def _server(self) -> float | None:
        if self._pid is None:
            return time.process_time() - time.thread_time()
        return cpu_seconds(self._pid)
