"""An object in a process of its own, called as if it were here."""

from __future__ import annotations

import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable


class RemoteError(Exception):
    """The process failed, or ended."""


class Remote:
    """Starts the process, which makes the object with a class or function ``make`` and then waits for calls.

    Raises:
        RemoteError: the object could not be made.
    """

    def __init__(self, make: Callable[..., Any], *arguments: Any) -> None:
        # Ctrl-C goes to every process of a terminal. It is for the one here, which then closes the other.
        ignore_interrupts = signal.SIGINT, signal.SIG_IGN
        spawning = multiprocessing.get_context("spawn")
        self._executor = ProcessPoolExecutor(1, spawning, signal.signal, ignore_interrupts)
        self.pid: int = self._run(os.getpid)
        self._process = psutil.Process(self.pid)
        try:
            self._run(_make, make, arguments)
        except BaseException:
            self.close()
            raise

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the object, and wait for the result.

        Raises:
            RemoteError: the method failed, or the process ended.
        """
        return self._run(_call, method, arguments)

    def close(self) -> None:
        """End the process."""
        with suppress(psutil.NoSuchProcess):
            self._process.terminate()
        self._executor.shutdown()

    def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return self._executor.submit(function, *arguments).result()
        except BrokenProcessPool:
            raise RemoteError("the process has ended") from None
        except Exception as error:
            raise RemoteError(f"{type(error).__name__}: {error}") from error


_target: Any = None
"""In the other process: the object."""


def _make(make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    global _target  # noqa: PLW0603 - a process has one, for as long as it lives
    _target = make(*arguments)


def _call(method: str, arguments: tuple[Any, ...]) -> Any:
    return getattr(_target, method)(*arguments)
