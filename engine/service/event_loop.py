"""The event loop that the server and :class:`engine.llm.LLM` run on: uvloop's, where there is one."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from engine.errors import UnavailableError

if sys.platform == "win32":
    from asyncio import new_event_loop
else:
    # Waking it once a step from the engine thread, which finds every cache cold, costs a third less.
    from uvloop import new_event_loop

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["LoopThread", "new_event_loop"]

T = TypeVar("T")


class LoopThread:
    """An event loop in a thread of its own, for code that blocks in any number of other threads."""

    def __init__(self, name: str) -> None:
        self._loop = new_event_loop()
        self._lock = threading.RLock()  # nothing is scheduled behind what stops the loop
        self._is_closed = False
        # The thread has no reference to this object, or nobody could collect one that was not closed.
        self._thread = threading.Thread(target=_run, args=(self._loop,), name=name, daemon=True)
        self._thread.start()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what a coroutine returns in the loop; an interrupt at the keyboard cancels it.

        Raises:
            UnavailableError: the loop is closed.
        """
        with self._lock:
            if self._is_closed:
                work.close()
                raise UnavailableError("The model is closed.")
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """Close, but wait for nothing; also from a finalizer, which runs in any thread and at any moment."""
        with self._lock:
            if not self._is_closed and self._thread.is_alive():  # in a forked child it is not
                self._is_closed = True
                self._loop.call_soon_threadsafe(self._loop.stop)

    def close(self) -> None:
        """Let what runs end, and close the loop; any number of threads may close it, at once or again."""
        self.stop()
        self._thread.join()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    if tasks := asyncio.all_tasks(loop):
        loop.run_until_complete(asyncio.wait(tasks))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
