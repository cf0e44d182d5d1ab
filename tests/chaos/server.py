"""The server under the weather: ``nucleus serve`` in a process of its own, and a look at it from outside."""

from __future__ import annotations

import asyncio
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psutil
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.servers import HOST, SERVERS, Ports, Running, Setting, running
from engine.models.names import locate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MODEL = "smollm2-135m-instruct"
_SLOTS, _CONTEXT = 6, 4096
_MAX_REQUESTS, _MAX_CONNECTIONS = 20, 16
"""Fewer than the visitors may come to ask for, so that some are refused."""
_SETTLE_SECONDS = 60.0  # in which the last requests end, once their clients have gone
_TICK_SECONDS = 0.1

Metrics = dict[str, float]
"""What ``/metrics`` tells, by name."""


@contextmanager
def chaos_server(log: Path) -> Iterator[Running]:
    """Serve the packaged model with room for few; what the server logs goes into a file.

    Raises:
        ServerError: it does not start.
    """
    ours = SERVERS[0]

    def command(*arguments: Any) -> list[Any]:
        limits = "--max-requests", _MAX_REQUESTS, "--max-connections", _MAX_CONNECTIONS
        return [*ours.command(*arguments), *limits]

    setting = Setting(locate(_MODEL).path, _SLOTS, _CONTEXT)
    with running(replace(ours, command=command), setting, log) as server:
        yield server


def memory_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    return round(psutil.Process(pid).memory_info().rss / 2**20, 1)


def read_metrics(ports: Ports) -> Metrics:
    """Return what the server tells of itself now."""
    with urllib.request.urlopen(f"http://{HOST}:{ports.http}/metrics") as page:
        families = text_string_to_metric_families(page.read().decode())
        return {sample.name: sample.value for family in families for sample in family.samples}


def is_idle(metrics: Metrics) -> bool:
    """Return True if every slot and every cell is free, and nothing waits."""
    held = ("requests_unfinished", "sequences_running", "sequences_waiting", "kv_cells_used")
    return not any(metrics[f"nucleus_{name}"] for name in held)


async def metrics_at_rest(ports: Ports) -> Metrics:
    """Wait until the server is idle, but not for ever; return its metrics then."""
    metrics = await asyncio.to_thread(read_metrics, ports)
    deadline = asyncio.get_running_loop().time() + _SETTLE_SECONDS
    while not is_idle(metrics) and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(_TICK_SECONDS)
        metrics = await asyncio.to_thread(read_metrics, ports)
    return metrics
