"""The real server in a process of its own, with what it was given for its log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

NUCLEUS = str(Path(sys.executable).with_name("nucleus"))
SMALL = ("--parallel", "2", "--ctx-size", "2048", "--prefix-cache", "off")
PATIENCE = 60
"""Seconds after which a test is broken; nothing is ever measured with it."""


class Serving(NamedTuple):
    """A server that is ready."""

    process: subprocess.Popen[str]
    lines: list[str]

    def address(self, door: str) -> str:
        (line,) = (line for line in self.lines if line.split()[:1] == [door])
        return line.split()[1]

    def signal(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def end(self) -> str:
        """Wait for the end, which must be a good one; return what was logged to a pipe."""
        _, log = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0
        assert "Traceback" not in (log or ""), log
        return log or ""


@contextmanager
def nucleus(*flags: object, stderr: int = subprocess.PIPE) -> Iterator[Serving]:
    """Start a server; the test sends it a signal and waits for its end, or it is killed."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("NUCLEUS_")}
    ports = [part for flag in ("--http-port", "--grpc-port") if flag not in flags for part in (flag, "0")]
    with subprocess.Popen(
        [NUCLEUS, "serve", *SMALL, *map(str, flags), *ports],
        env=plain | {"NO_COLOR": "1", "PYTHONUNBUFFERED": "1", "COLUMNS": "300"},
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            lines: list[str] = []
            for line in process.stdout:
                lines.append(line.strip())
                if "curl" in line:
                    break
            assert any("curl" in line for line in lines), lines
            yield Serving(process, lines)
        finally:
            process.kill()
