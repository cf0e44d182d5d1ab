"""What a signal does to a server, from its first second on."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class StoppedError(BaseException):
    """A signal came before there was anything to finish.

    Args:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Signals:
    """SIGINT and SIGTERM of this process, on the running event loop.

    Until :meth:`hand_over`, a signal ends :meth:`unless`.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped: asyncio.Future[int] = self._loop.create_future()
        self._handler: Callable[[int], None] = self._stop
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._receive, number)

    async def unless(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns, which is called in a thread of its own.

        Raises:
            StoppedError: a signal came first. The thread goes on, and ends with the process.
        """
        done: asyncio.Future[T] = self._loop.create_future()

        def settle(result: T | None, error: BaseException | None) -> None:
            if not done.done():
                if error is not None:
                    done.set_exception(error)
                else:
                    done.set_result(cast("T", result))

        def run() -> None:
            try:
                result = work()
            except BaseException as error:
                self._loop.call_soon_threadsafe(settle, None, error)
            else:
                self._loop.call_soon_threadsafe(settle, result, None)

        threading.Thread(target=run, name="nucleus-start", daemon=True).start()
        await asyncio.wait((done, self._stopped), return_when=asyncio.FIRST_COMPLETED)
        if not done.done():
            raise StoppedError(self._stopped.result())
        return done.result()

    def hand_over(self, handler: Callable[[int], None]) -> None:
        """Call ``handler`` with the number of each signal from now on, and of one that has come already."""
        self._handler = handler
        if self._stopped.done():
            handler(self._stopped.result())

    def _receive(self, number: int) -> None:
        self._handler(number)

    def _stop(self, number: int) -> None:
        if not self._stopped.done():
            self._stopped.set_result(number)
