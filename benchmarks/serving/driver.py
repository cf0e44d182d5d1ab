"""A client program as a child process, which does one job after the other and waits in between."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from benchmarks.serving.job import Outcome
from benchmarks.serving.process import ServerError, last_line, stop

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.serving.job import Job


class Driver:
    """Started when there is a job and none runs.

    Args:
        command: The program, which speaks as :mod:`benchmarks.serving.client` does.
        log: File for what it prints to its standard error.
    """

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._command = command
        self._log = log
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int | None:
        """Its process, if one runs."""
        return self._process.pid if self._process else None

    def start(self) -> int:
        """Start the program if it does not run; return its process."""
        if self._process is None:
            with self._log.open("w", encoding="utf-8") as errors:
                self._process = subprocess.Popen(  # noqa: S603
                    self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
                )
        return self._process.pid

    def perform(self, job: Job) -> Outcome:
        """Have a job done, and wait for the end of it.

        Raises:
            ServerError: the program ended before.
        """
        self.start()
        process = self._process
        assert process
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(job.json() + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self.close()
            raise ServerError(f"the client program ended: {last_line(self._log)} (in {self._log})")
        return Outcome.parse(answer)

    def close(self) -> None:
        """End the program."""
        process, self._process = self._process, None
        if process:
            stop(process)
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    pipe.close()
