"""Processor time while something is measured: the client's, the server's, and everybody else's."""

from __future__ import annotations

import time
from typing import NamedTuple

from benchmarks.report import Elsewhere
from benchmarks.serving.process import cpu_seconds


class Spent(NamedTuple):
    """What a meter read."""

    client: float
    """Seconds of processor time of this process."""
    server: float | None
    """Seconds of processor time of the server, or None where the system does not tell."""
    elsewhere: float | None
    """Processors that neither of them kept busy, on average."""


class Meter:
    """Runs from when it is made.

    Args:
        pid: The server's process.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._start = time.process_time(), cpu_seconds(pid), time.perf_counter()
        self._watch = Elsewhere()

    def read(self) -> Spent:
        """Return what was spent since the start."""
        client, server, began = self._start
        now, others = cpu_seconds(self._pid), self._watch.processors()
        own = time.process_time() - client
        if server is None or now is None:
            return Spent(own, None, None)
        if others is not None:
            others = max(0.0, others - (now - server) / (time.perf_counter() - began))
        return Spent(own, now - server, others)
