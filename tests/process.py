"""The real server in a process of its own, as a user starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MODEL = "smollm2-135m-instruct"
NUCLEUS = str(Path(sys.executable).with_name("nucleus"))
SMALL = ("--parallel", "2", "--ctx-size", "2048", "--prefix-cache", "off")
PATIENCE = 60
"""Seconds after which a test is broken; nothing is ever measured with it."""


class Serving:
    """A server that is ready.

    Attributes:
        lines: What it has printed, or said in a log of JSON; after its end, all of it.
        log: What it has written to a pipe for its log; complete after its end.
        records: The lines of a log of JSON; complete after its end.
    """

    def __init__(self, process: subprocess.Popen[str], *, has_json_log: bool = False) -> None:
        self.process = process
        self.lines: list[str] = []
        self.log = ""
        self.records: list[dict[str, Any]] = []
        self._has_json_log = has_json_log
        begin = process.stderr if has_json_log else process.stdout
        assert begin is not None
        # Line by line, and nothing that a buffer would keep from what reads the rest.
        while line := _line(begin.fileno()):
            if has_json_log:
                self.records.append(json.loads(line))
                line = self.records[-1]["message"]
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
        if self._has_json_log:
            assert rest == ""
            self.records += map(json.loads, self.log.splitlines())
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
            yield Serving(process, has_json_log="json" in flags)
        finally:
            process.kill()
