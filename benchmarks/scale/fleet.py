"""Servers of ours that are measured together, and what may stand in front of them."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from benchmarks.gateways import smg
from benchmarks.servers import HOST, SERVERS, Setting, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from benchmarks.servers import Running


class Front(NamedTuple):
    """Where clients ask: one port, or several among which they divide themselves evenly."""

    ports: tuple[int, ...]
    pid: int | None = None
    """The process in front of the servers, if there is one."""


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


DIRECT = Side("nothing", _nothing)
SIDES = (
    DIRECT,
    Side("SMG", behind_smg("--policy", "cache_aware"), 0.97, (2.0, 10.0)),
    Side("SMG, gRPC", behind_smg("--policy", "cache_aware", door="grpc"), 0.97, (2.0, 10.0)),
)
"""In the order of their turns; the first is what others are compared with. A new gateway is a line here."""


@contextmanager
def fleet_of(count: int, setting: Setting, logs: Path) -> Iterator[list[Running]]:
    """Start so many servers, one after the other, and stop them at the end of the context."""
    ours = replace(SERVERS[0], doors=("http",))
    with ExitStack() as opened:
        yield [
            opened.enter_context(running(ours, setting, logs / f"worker-{number}.log"))
            for number in range(count)
        ]
