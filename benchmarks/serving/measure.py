"""One server under all loads: the client program is run once for each."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.serving.goal import CLIENTS
from benchmarks.serving.job import Job, Outcome
from benchmarks.serving.process import free_port, running
from benchmarks.serving.row import Row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from benchmarks.serving.job import Door
    from benchmarks.serving.process import Running
    from benchmarks.serving.server import Server, Setting

_LOGPROBS = 5
_WARM_UP_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Loads:
    """What each door of each server is given."""

    clients: Sequence[int]
    """The closed loops."""
    share: float
    """The open loop's requests a second, as a part of those of the closed loop of :data:`CLIENTS` clients."""
    seconds: float
    """How long each load lasts."""


def started(
    server: Server, setting: Setting, logs: Path, *, logprobs: bool
) -> AbstractContextManager[Running]:
    """Start a server on free ports; it is stopped at the end.

    Raises:
        ServerError: it did not start.
    """
    http_port, grpc_port = free_port(), free_port()
    command = server.command(setting, http_port, grpc_port, logprobs=logprobs)
    return running(command, http_port, grpc_port, logs / f"{server.name}.log")


def measure(server: Server, setting: Setting, model: str, loads: Loads, logs: Path) -> Iterator[Row]:
    """Yield a row for each load: closed loops and the open one, then a closed one with log-probabilities.

    Raises:
        ServerError: the server did not start.
    """
    with started(server, setting, logs, logprobs=False) as one:
        for door in server.doors:
            _perform(_job(one, door, _WARM_UP_SECONDS, clients=2))
            closed: list[Row] = []
            for clients in loads.clients:
                job = _job(one, door, loads.seconds, clients=clients)
                closed.append(Row(model, server.name, job, _perform(job)))
                yield closed[-1]
            rate = loads.share * _requests_per_s(closed)
            if rate > 0:
                job = _job(one, door, loads.seconds, rate=rate)
                yield Row(model, server.name, job, _perform(job))
    with started(server, setting, logs, logprobs=True) as one:
        for door in server.doors:
            _perform(_job(one, door, _WARM_UP_SECONDS, clients=2, logprobs=_LOGPROBS))
            job = _job(one, door, loads.seconds, clients=CLIENTS, logprobs=_LOGPROBS)
            yield Row(model, server.name, job, _perform(job))


def _job(
    one: Running,
    door: Door,
    seconds: float,
    *,
    clients: int | None = None,
    rate: float | None = None,
    logprobs: int | None = None,
) -> Job:
    port = one.grpc_port if door == "grpc" else one.http_port
    return Job(door, port, one.pid, one.model, seconds, clients=clients, rate=rate, logprobs=logprobs)


def _requests_per_s(closed: Sequence[Row]) -> float:
    """Return what the closed loop that the goals are about had, or the last one where that was left out."""
    row = next((row for row in closed if row.job.clients == CLIENTS), closed[-1])
    summary = row.outcome.summary
    return row.tokens_per_s / summary.tokens_per_request if summary.tokens_per_request else 0.0


def _perform(job: Job) -> Outcome:
    command = [sys.executable, "-m", "benchmarks.serving.client"]
    done = subprocess.run(command, input=job.json(), stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    return Outcome.parse(done.stdout)
