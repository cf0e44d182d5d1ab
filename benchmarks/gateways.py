"""A gateway in front of several servers of ours, started as its users start it: SMG."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.servers import HOST, ServerError, end, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Worker = dict[str, Any]
    """What the gateway tells of one: ``url``, ``id``, ``status``, ``load`` (requests under way) and more."""

_INSTALLED = Path(__file__).parents[1] / "build" / "clients" / "smg" / "bin" / "smg"
_PATIENCE_SECONDS = 60.0
_TICK_SECONDS = 0.05
_QUICK: tuple[Any, ...] = (
    *(
        "--health-check-endpoint",
        "/ready",
        "--health-check-interval-secs",
        1,
        "--health-check-timeout-secs",
        1,
    ),
    *("--health-failure-threshold", 1, "--health-success-threshold", 1, "--worker-startup-check-interval", 1),
    *("--load-monitor-interval", 1, "--shutdown-grace-period-secs", 1),
    *("--cb-failure-threshold", 1, "--cb-success-threshold", 1, "--cb-timeout-duration-secs", 2),
)
"""It asks its workers every second whether they take requests and how busy they are, and leaves one alone
as soon as it cannot be reached. By its own defaults a request is tried five times within half a second, and
where routing looks at the cache all five may go to a worker that has just died."""


def smg_command() -> Path | None:
    """Return the command of SMG: the one that ``make test`` has installed, or the path's; None without."""
    if _INSTALLED.exists():
        return _INSTALLED
    found = shutil.which("smg")
    return None if found is None else Path(found)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that takes requests.

    Attributes:
        port: Where it listens.
        pid: Its process.
        key: The key that it asks its clients for, if it does.
    """

    port: int
    pid: int
    key: str | None = None

    def ask(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """Return what one of its own routes answers.

        Raises:
            OSError: it refuses, or does not answer.
        """
        headers = {"Content-Type": "application/json"}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{HOST}:{self.port}{path}", content, headers, method=method)
        with urllib.request.urlopen(request, timeout=_PATIENCE_SECONDS) as answer:  # noqa: S310
            return json.load(answer)

    def workers(self) -> list[Worker]:
        """Return what it tells of its workers, in the order of their addresses."""
        told: list[Worker] = self.ask("/workers")["workers"]
        return sorted(told, key=lambda worker: str(worker["url"]))

    def loads(self) -> dict[str, dict[str, Any]]:
        """Return how busy it takes each worker to be, by its address."""
        return {load["worker"]: load for load in self.ask("/get_loads")["loads"]}

    def add(self, url: str, **fields: Any) -> None:
        """Register a worker; it is asked in the background, and takes requests once it is ready."""
        self.ask("/workers", "POST", {"url": url, **fields})

    def remove(self, url: str) -> None:
        """Send a worker no more requests, and forget it when those under way have ended."""
        (found,) = (worker for worker in self.workers() if worker["url"] == url)
        self.ask(f"/workers/{found['id']}", "DELETE")

    def ready(self) -> set[str]:
        """Return the addresses of the workers that get requests."""
        return {worker["url"] for worker in self.workers() if worker["status"] == "ready"}

    def has_tokenizer(self) -> bool:
        """Return True if a worker has given it a tokenizer; it asks none over gRPC before."""
        return bool(self.ask("/v1/tokenizers")["tokenizers"])

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Ask again and again until something holds.

        Raises:
            ServerError: it does not within a minute.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not _holds(holds):
            if time.monotonic() > deadline:
                raise ServerError(f"not so after {_PATIENCE_SECONDS:.0f} s: {self.workers()}")
            time.sleep(_TICK_SECONDS)

    def wait_until_ready(self, urls: Sequence[str]) -> None:
        """Wait until exactly these workers get requests."""
        self.wait_until(lambda: self.ready() == set(urls))


def _holds(holds: Callable[[], bool]) -> bool:
    try:
        return holds()
    except (urllib.error.URLError, ConnectionError):
        return False  # it does not listen yet


@contextmanager
def smg(urls: Sequence[str], log: Path, *options: object, key: str | None = None) -> Iterator[Gateway]:
    """Start SMG before servers, wait until it sends them requests, and stop it at the end of the context.

    Args:
        urls: The servers' addresses; ``grpc://host:port`` for workers over gRPC.
        log: The file that its log goes to.
        *options: More of its options; they win over those that are always given.
        key: The key that it asks its clients for and has for its workers.

    Raises:
        ServerError: it is not installed, ended, or does not take the servers.
    """
    command = smg_command()
    if command is None:
        raise ServerError("SMG is not installed; make test installs it into build/clients/smg.")
    port, metrics = free_port(), free_port()
    tokenizes = any(url.startswith("grpc") for url in urls)  # its workers over gRPC know tokens alone
    arguments = [
        *(command, "launch", "--host", HOST, "--port", port),
        *("--prometheus-host", HOST, "--prometheus-port", metrics),
        *(*_QUICK, *(() if tokenizes else ("--disable-tokenizer-autoload",))),
        *(*(() if key is None else ("--api-key", key)), *options, "--worker-urls", *urls),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603
            [str(argument) for argument in arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment | {"NO_COLOR": "1"},
        )
    try:
        gateway = Gateway(port, process.pid, key)

        def is_ready() -> bool:
            if process.poll() is not None:
                raise ServerError(f"SMG ended with {process.returncode} at the start; {log} says why")
            return gateway.ready() == set(urls) and (not tokenizes or gateway.has_tokenizer())

        gateway.wait_until(is_ready)
        yield gateway
    finally:
        end(process)
