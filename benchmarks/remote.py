"""An object in a process of its own, called as if it were here."""

from __future__ import annotations

import multiprocessing
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection


class RemoteError(Exception):
    """The process failed, or ended."""


class Remote:
    """Starts the process, which makes the object and then waits for calls.

    Args:
        make: Makes the object; a class or a function that can be pickled.
        arguments: What it is called with.

    Raises:
        RemoteError: the object could not be made.
    """

    def __init__(self, make: Callable[..., Any], *arguments: Any) -> None:
        spawning = multiprocessing.get_context("spawn")
        self._pipe, far = spawning.Pipe()
        self._process = spawning.Process(target=_serve, args=(far, make, arguments), daemon=True)
        self._process.start()
        far.close()  # so that a process that dies ends the wait for its answer
        self._answer()

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process.pid is not None
        return self._process.pid

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the object, and wait for the result.

        Raises:
            RemoteError: the method failed, or the process ended.
        """
        try:
            self._pipe.send((method, arguments))
        except OSError:
            raise RemoteError("the process has ended") from None
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()
        self._pipe.close()

    def _answer(self) -> Any:
        try:
            result, error = self._pipe.recv()
        except (EOFError, OSError):
            raise RemoteError("the process has ended") from None
        if error is not None:
            raise RemoteError(error)
        return result


def _serve(pipe: Connection, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    call, target = make, None
    with suppress(EOFError, KeyboardInterrupt):  # the caller is gone, or everything is interrupted
        while True:
            try:
                result = call(*arguments)
            except Exception as error:
                pipe.send((None, f"{type(error).__name__}: {error}"))
            else:
                target, result = (result, None) if target is None else (target, result)
                pipe.send((result, None))
            method, arguments = pipe.recv()
            call = getattr(target, method)
