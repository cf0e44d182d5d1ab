"""A Python process of ours: for what may end a process, or cannot be interrupted inside of one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass


def interpreter() -> str | None:
    """Return a Python to start, or None: a program that embeds Python names itself as the executable."""
    if getattr(sys, "frozen", False):
        return None
    if os.path.basename(sys.executable or "").lower().startswith(("python", "pypy")):
        return sys.executable
    beside = os.path.join(sys.prefix, "bin", "python3")
    return beside if os.path.exists(beside) else None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child has ended."""

    status: int
    """Its exit status; of one that a signal ended, the signal's number, negative."""
    stdout: bytes
    stderr: bytes

    @property
    def reason(self) -> str:
        """Its last words, without the folder of llama.cpp's source; without any, how it ended."""
        lines = [line for line in self.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
        words = re.sub(r"^\S*/(?=\S+:\d+: )", "", lines[-1])[:300].strip(" .") if lines else ""
        how = signal.Signals(-self.status).name if self.status < 0 else f"exit status {self.status}"
        return words or how


class Child:
    """A module of ours, run in a process that can see its own end coming.

    Its standard input is a pipe that ends when this process does, however it ends: the module begins with
    :func:`engine.backend.lifeline.watch`. It sees no GPU.

    Args:
        python: The interpreter.
        module: The module's name.
        *arguments: Its arguments.
    """

    def __init__(self, python: str, module: str, *arguments: str) -> None:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "PYTHONWARNINGS": "ignore",
            "GGML_NO_BACKTRACE": "1",
            "CUDA_VISIBLE_DEVICES": "",
        }
        nothing, self._lifeline = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603  (our own interpreter and module)
                [python, "-m", module, *arguments],
                env=environment,
                stdin=nothing,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except BaseException:
            os.close(self._lifeline)
            raise
        finally:
            os.close(nothing)

    def wait(self, timeout_s: float) -> Ended:
        """Wait until it has ended; whatever ends the waiting ends the child.

        Raises:
            TimeoutError: it has not ended in time.
        """
        try:
            with self._process:
                try:
                    stdout, stderr = self._process.communicate(timeout=timeout_s)
                except BaseException:
                    self._process.kill()
                    raise
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"it takes more than {timeout_s:.0f} s") from None
        finally:
            os.close(self._lifeline)
        return Ended(self._process.returncode, stdout, stderr)

    def kill(self) -> None:
        """End it at once; any thread may, and whoever waits sees that."""
        self._process.kill()
