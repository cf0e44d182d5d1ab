"""The real server in a process of its own, as a user starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NUCLEUS = str(Path(sys.executable).with_name("nucleus"))
SMALL = ("--parallel", "2", "--ctx-size", "2048", "--prefix-cache", "off")
PATIENCE = 60
"""Seconds after which a test is broken; nothing is ever measured with it."""


class Serving:
    """A server that is ready.

    Attributes:
        lines: What it has printed; after its end, all of it.
        log: What it has written to a pipe for its log; complete after its end.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self.log = ""
        assert process.stdout is not None
        # Line by line, and nothing that a buffer would keep from what reads the rest.
        while line := _line(process.stdout.fileno()):
            self.lines.append(line.strip())
            if "curl" in line:
                return
        raise AssertionError(f"it is not ready: {self.lines} {process.stderr and process.stderr.read()}")

    def address(self, door: str) -> str:
        (line,) = (line for line in self.lines if line.split()[:1] == [door])
        return line.split()[1]

    def signal(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        """Wait for the end, which must be a good one."""
        rest, log = self.process.communicate(timeout=PATIENCE)
        self.lines += rest.splitlines()
        self.log = log or ""
        assert self.process.returncode == 0
        assert "Traceback" not in self.log, self.log


def _line(file: int) -> str:
    """Read to the end of a line, and no further."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(file, 1)):
        line += byte
    return line.decode()


@contextmanager
def nucleus(
    *flags: object, environment: Mapping[str, str] | None = None, stderr: int = subprocess.PIPE
) -> Iterator[Serving]:
    """Start a server; the test sends it a signal and waits for its end, or it is killed.

    Args:
        *flags: What it is started with; free ports unless they are among them.
        environment: What is added to its environment.
        stderr: Where its log goes.
    """
    plain = {name: value for name, value in os.environ.items() if not name.startswith("NUCLEUS_")}
    ports = [part for flag in ("--http-port", "--grpc-port") if flag not in flags for part in (flag, "0")]
    with subprocess.Popen(
        [NUCLEUS, "serve", *SMALL, *map(str, flags), *ports],
        env=plain | {"NO_COLOR": "1", "PYTHONUNBUFFERED": "1", "COLUMNS": "300"} | {**(environment or {})},
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    ) as process:
        try:
            yield Serving(process)
        finally:
            process.kill()
