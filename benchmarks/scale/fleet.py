"""Servers of ours that are measured together, and what may stand in front of them."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from benchmarks.gateways import smg
from benchmarks.ray_cluster import behind_serve
from benchmarks.servers import HOST, SERVERS, Setting, running
from engine.models.names import locate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from benchmarks.servers import Running

SETTING = Setting(locate("smollm2-135m-instruct").path, slots=4, context=4096, threads=1)
"""What every server is given."""


class Front(NamedTuple):
    """Where clients ask: one port, or several among which they divide themselves evenly."""

    ports: tuple[int, ...]
    pid: int | None = None
    """The process in front of the servers, if there is one."""
    more_pids: tuple[int, ...] = ()
    """Others that work for this side."""


class Side(NamedTuple):
    """What may stand in front of servers."""

    name: str
    open: Callable[[Sequence[Running], Path], AbstractContextManager[Front]]
    """Opens it before servers that run; its log goes to the file."""
    throughput: float = 1.0
    """Goal: the least part of the tokens a second that the same servers give without it."""
    first_token: tuple[float, float] = (0.0, 0.0)
    """Goals: the most milliseconds that it adds to the first token: the median, and the 99th percentile."""


@contextmanager
def _nothing(fleet: Sequence[Running], _log: Path) -> Iterator[Front]:
    yield Front(tuple(server.ports.http for server in fleet))


def behind_smg(
    *options: object, door: Literal["http", "grpc"] = "http"
) -> Callable[[Sequence[Running], Path], AbstractContextManager[Front]]:
    """Return what opens SMG with more of its options, before one of the servers' doors."""

    @contextmanager
    def opened(fleet: Sequence[Running], log: Path) -> Iterator[Front]:
        urls = [f"{door}://{HOST}:{getattr(server.ports, door)}" for server in fleet]
        with smg(urls, log, *options) as gateway:
            yield Front((gateway.port,), gateway.pid)

    return opened


def behind_ray(**options: Any) -> Callable[[Sequence[Running], Path], AbstractContextManager[Front]]:
    """Return what starts the same servers once more, as replicas of Ray Serve; the others are idle."""

    @contextmanager
    def opened(fleet: Sequence[Running], log: Path) -> Iterator[Front]:
        with behind_serve(SETTING, log, replicas=len(fleet), **options) as cluster:
            yield Front((cluster.http,), more_pids=tuple(cluster.all_pids()))

    return opened


DIRECT = Side("nothing", _nothing)
GROUPS = (
    (
        DIRECT,
        Side("SMG", behind_smg("--policy", "cache_aware"), 0.97, (2.0, 10.0)),
        Side("SMG, gRPC", behind_smg("--policy", "cache_aware", door="grpc"), 0.97, (2.0, 10.0)),
    ),
    (DIRECT, Side("Ray Serve", behind_ray(haproxy=True), 0.93, (5.0, 20.0))),
    (DIRECT, Side("Ray Serve with a router", behind_ray(haproxy=True, router="on"), 0.93, (5.0, 20.0))),
)
"""Sides that take turns; the first of a group is what others are compared with. A new gateway is a line here.

Each has a group of its own: a Ray cluster computes a little when nobody asks it.
"""


@contextmanager
def fleet_of(count: int, setting: Setting, logs: Path) -> Iterator[list[Running]]:
    """Start so many servers, one after the other, and stop them at the end of the context."""
    ours = replace(SERVERS[0], doors=("http",))
    with ExitStack() as opened:
        yield [
            opened.enter_context(running(ours, setting, logs / f"worker-{number}.log"))
            for number in range(count)
        ]
