"""Engines behind Ray Serve on this machine, in an environment of Ray's own: for tests and measurements."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.servers import HOST, ServerError, free_port

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from benchmarks.servers import Setting

_ROOT = Path(__file__).parents[1]
PYTHON = _ROOT / "build" / "clients" / "ray" / "bin" / "python"
"""The interpreter that has Ray, once ``make build/clients/ray/.installed`` has run."""
HAPROXY = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
    "RAY_SERVE_HAPROXY_RETRIES": "3",
}
"""The environment of a cluster in which HAProxy asks replicas itself, and another where one has died."""
_STOP_SECONDS = 60.0
_PATIENCE_SECONDS = 120.0
_TICK_SECONDS = 0.2
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_AUTH_MODE": "disabled",  # nobody else reaches it
    "RAY_raylet_start_wait_time_s": "120",  # others may compute here
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "120",  # after 5 s it would be started again, and again
    "PYTHONDONTWRITEBYTECODE": "",  # a dozen processes import half of Ray: compiled once, not by each
    "PYTHONPYCACHEPREFIX": str(PYTHON.parents[1] / "compiled"),
}


class RayCluster:
    """A cluster that runs, and what it is told.

    Attributes:
        http: The port of Serve's HTTP door.
        grpc: The port of its gRPC door.
    """

    def __init__(self, process: subprocess.Popen[str], *, cores: int, shows_log: bool = False) -> None:
        self._process = process
        self._lock = threading.Lock()
        self.http, self.grpc = free_port(), free_port()
        self._tell(
            "start", cores=cores, host=HOST, http_port=self.http, grpc_port=self.grpc, shows_log=shows_log
        )

    def deploy(self, **options: Any) -> None:
        """Serve what :func:`engine.deploy.ray.build` makes of options; return when it is ready.

        Raises:
            ServerError: it is refused, or cannot be started.
        """
        self._tell("deploy", options=options)

    def replicas(self, deployment: str) -> dict[str, int]:
        """Return how many replicas are in which state, such as ``RUNNING``."""
        states: dict[str, int] = self._tell("status")[deployment]
        return states

    def pids(self, deployment: str) -> set[int]:
        """Return the processes of a deployment's replicas."""
        found = set()
        for process in _children(self._process.pid):
            with suppress(psutil.Error):  # it has just ended
                title = " ".join(process.cmdline())
                if title.startswith("ray::ServeReplica:") and f":{deployment}" in title:
                    found.add(process.pid)
        return found

    def wait_for(self, deployment: str, count: int, *, but: Collection[int] = ()) -> None:
        """Return when a deployment has so many running replicas, besides processes that have ended or will.

        Raises:
            ServerError: it has not, for long.
        """
        limit = time.monotonic() + _PATIENCE_SECONDS
        while len(self.pids(deployment) - set(but)) < count or self.replicas(deployment) != {
            "RUNNING": count
        }:
            if time.monotonic() > limit:
                raise ServerError(f"{deployment} has {self.replicas(deployment)}, not {count} that run")
            time.sleep(_TICK_SECONDS)

    def all_pids(self) -> list[int]:
        """Return every process of the cluster."""
        return [self._process.pid, *(child.pid for child in _children(self._process.pid))]

    def _tell(self, do: str, **more: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps({"do": do, **more}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            raise ServerError(f"Ray has ended with status {self._process.wait()}")
        told = json.loads(line)
        if "failed" in told:
            raise ServerError(f"Ray Serve: {told['failed']}")
        return told["is"]


@contextmanager
def behind_serve(
    setting: Setting, log: Path, *, replicas: int = 2, haproxy: bool = False, **options: Any
) -> Iterator[RayCluster]:
    """Start replicas of one model behind Ray Serve, each as ``nucleus serve`` would be with that setting.

    Args:
        setting: What each of them is given.
        log: Where the cluster's log goes.
        replicas: How many there are.
        haproxy: Whether Serve's HAProxy stands in front, and not its proxy in Python.
        options: More for :func:`engine.deploy.ray.build`, such as ``router="on"``.
    """
    with ray_cluster(cores=replicas, log=log, environment=HAPROXY if haproxy else {}) as cluster:
        cluster.deploy(
            model=str(setting.model),
            replicas=replicas,
            parallel=setting.slots,
            ctx_size=setting.context,
            threads=setting.threads,
            log_level="warning",
            **options,
        )
        yield cluster


@contextmanager
def ray_cluster(
    *, cores: int = 2, log: Path | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[RayCluster]:
    """Start a cluster of this machine alone; at the end it is stopped, with all that runs on it.

    Args:
        cores: How many cores Ray believes in; replicas that do not fit wait.
        log: Where its log goes, with those of all replicas; None throws it away.
        environment: More for it, such as Serve's switches.

    Raises:
        ServerError: Ray is not installed, or does not start.
    """
    if not PYTHON.exists():
        raise ServerError(
            f"Ray is not installed; make {PYTHON.parents[1].relative_to(_ROOT)}/.installed does"
        )
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("NUCLEUS_", "RAY_"))}
    with (log or Path(os.devnull)).open("ab") as output:
        process = subprocess.Popen(  # noqa: S603  (our own module)
            [PYTHON, "-m", "benchmarks.ray_driver"],
            cwd=_ROOT,
            env=plain | _QUIET | {"PYTHONPATH": str(_ROOT)} | {**(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        )
    with process:
        try:
            yield RayCluster(process, cores=cores, shows_log=log is not None)
            assert process.stdin is not None
            process.stdin.close()
            process.wait(_STOP_SECONDS)
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """End what is left of a cluster: Ray's own processes outlive the one that started them."""
    for left in [*(child.pid for child in _children(process.pid)), process.pid]:
        with suppress(psutil.Error, ProcessLookupError):
            os.kill(left, signal.SIGKILL)


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []
