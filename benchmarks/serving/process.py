"""A server as a child process: started, waited for, watched, and stopped."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

HOST = "127.0.0.1"
"""Where every server listens."""

_START_SECONDS = 180.0
_STOP_SECONDS = 15.0


class ServerError(Exception):
    """A server that cannot be installed, or does not start."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that takes requests."""

    http_port: int
    grpc_port: int
    model: str
    """The name that it answers to."""
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, command: Sequence[str], http_port: int, grpc_port: int, log: Path) -> Running:
        """Start a server, and wait until it is ready.

        Args:
            command: Program and arguments, which make it listen on the ports.
            http_port: Where ``/v1/models`` tells when it is ready.
            grpc_port: Where its gRPC door is, if it has one.
            log: File for what it prints.

        Raises:
            ServerError: it ended, or was not ready in time.
        """
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)  # noqa: S603
        try:
            return cls(http_port, grpc_port, _wait_until_ready(process, http_port, log), process)
        except BaseException:
            stop(process)
            raise

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it runs still."""
        return self.process.poll() is None

    def stop(self) -> None:
        """Stop it."""
        stop(self.process)


def stop(process: subprocess.Popen[Any]) -> None:
    """End a child process, and wait until it has."""
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server((HOST, 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def cpu_seconds(pid: int) -> float | None:
    """Return a process's processor time, or None where the system does not tell (``proc_pid_stat(5)``)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    user, system = text.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerError(f"ended with {process.returncode} at the start: {last_line(log)} (in {log})")
        if models := _models(port):
            name: str = models[0]["id"]
            return name
        time.sleep(0.2)
    raise ServerError(f"not ready after {_START_SECONDS:.0f} s: {last_line(log)} (in {log})")


def _models(port: int) -> list[dict[str, Any]]:
    """Return what the server serves; nothing as long as it is not ready."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/v1/models")
        response = connection.getresponse()
        body = response.read()
        models: list[dict[str, Any]] = json.loads(body)["data"] if response.status == 200 else []
    except (OSError, http.client.HTTPException):
        return []
    finally:
        connection.close()
    return models


def last_line(log: Path) -> str:
    """Return the last thing that a process printed."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "it printed nothing")
