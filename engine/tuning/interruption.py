"""Ending the work early: from another thread, or by a signal."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from engine.loading.child import Child


class Interrupted(BaseException):
    """The work has been asked to end; no ``except Exception`` holds it up."""


class Interruption:
    """A request to end the work, which the work looks for between its steps."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = False
        self._child: Child | None = None

    def ask(self) -> None:
        """Ask the work to end, and end the process that it waits for."""
        with self._lock:
            self._asked = True
            if self._child is not None:
                self._child.kill()

    def check(self) -> None:
        """Go on.

        Raises:
            Interrupted: the work is to end.
        """
        if self._asked:
            raise Interrupted

    def watch(self, child: Child) -> None:
        """End this process, too, once the work is to end."""
        with self._lock:
            self._child = child
            if self._asked:
                child.kill()


@contextmanager
def signals_as_exit() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise SystemExit, so that temporary files go; in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
