"""The command ``nucleus``: it begins with whatever streams it was given, and ends as a shell expects.

The verbs and their libraries are imported inside, so that an interrupt meets no import outside.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from engine.errors import EngineError
from engine.extras import explained

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

# What a shell reports for a process that a signal ended is 128 and the signal's number. So `nucleus … | head`
# ends as other tools do before `head`. With 1, which is usual for tools in Python, a script could not tell it
# from a failure.
_INTERRUPTED = 128 + 2  # SIGINT, from Ctrl-C
_NO_READER = 128 + 13  # SIGPIPE, which Python ignores and reports as BrokenPipeError


class Ending:
    """How a run of the command ends: an exit status, and one line for whatever failed.

    Attributes:
        shows_traceback: Whether a failure is shown with its traceback; the flag ``--debug`` sets it.
    """

    def __init__(self) -> None:
        self.shows_traceback = False

    def status_of(self, run: Callable[[], object]) -> int:
        """Run something to its end, and return the exit status."""
        try:
            return _finish(run)
        except BrokenPipeError:
            return _NO_READER
        except KeyboardInterrupt:
            return _INTERRUPTED
        except BaseException as error:
            with suppress(OSError):  # nobody can be told
                self._tell(error)
            return 1

    def _tell(self, error: BaseException) -> None:
        if self.shows_traceback:
            import traceback

            traceback.print_exception(error)
        print("nucleus:", " ".join(self._message(error).split()), file=sys.stderr, flush=True)

    def _message(self, error: BaseException) -> str:
        if isinstance(error, ModuleNotFoundError):
            error = explained(error, "The command", "serve")
        if isinstance(error, EngineError):
            return str(error)
        if isinstance(error, OSError) and error.strerror:
            what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        else:
            what = f"{type(error).__name__}: {error}"
        return what if self.shows_traceback else f"{what}. `nucleus --debug …` shows where."


def main() -> None:
    """Run the command; a failure is one line and an exit status, with a traceback only if asked for."""
    _open_missing_streams()
    ending = Ending()
    status = ending.status_of(lambda: _run(ending))
    _discard_unwritten(sys.stdout)
    _discard_unwritten(sys.stderr)
    sys.exit(status)


def _run(ending: Ending) -> None:
    from engine.commands.app import app

    app(prog_name="nucleus", obj=ending)


def _finish(run: Callable[[], object]) -> int:
    """Run something that may exit, write what it has left to write, and return its status."""
    status = 0
    try:
        run()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer makes it an exit with status 1
            raise end.__context__ from None
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    sys.stdout.flush()
    return status


def _open_missing_streams() -> None:
    """Put the null device where a standard stream is closed.

    Otherwise the next file or socket that is opened takes its number, and gets what was meant for the stream.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _discard_unwritten(stream: TextIO) -> None:
    """Let the interpreter, which flushes the stream as it exits, succeed and be silent."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
