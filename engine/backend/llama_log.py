"""llama.cpp as a library, and what it says: to the log, and errors also to whoever asks for them."""

from __future__ import annotations

import logging
import os
import re
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

# llama.cpp's threads wait for each other some hundred times a token, and libgomp spins for milliseconds while
# they wait. Where another program wants the core too, spinning steals time from the very thread that the
# others wait for (docs/notes/performance.md has figures). This must be set before the library is loaded; a
# value that the user has set stays.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
# Before it aborts, llama.cpp starts a debugger on the process, which may take minutes and print its memory.
os.environ.setdefault("GGML_NO_BACKTRACE", "1")

import llama_cpp as lib

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LoadErrors", "lib", "load_errors"]

log = logging.getLogger("nucleus.llama")

_ERROR = 4
"""ggml's number for the level."""
_LONGEST = 300
_LEAD = re.compile(r"^(?:\w+_\w+: |error loading model(?: \w+)?: )*")
"""The functions that an error has passed through."""
_EMPTY = re.compile(r"failed to load (?:model|GGUF)")
"""What is said of every load that fails, and tells nothing."""


def printable(text: str) -> str:
    """Return a text, which a file may have written, as one line that is safe to show in a terminal."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:_LONGEST]


class LoadErrors(list[str]):
    """What llama.cpp has said at the level of errors, in order."""

    @property
    def reason(self) -> str | None:
        """The first of them that gives a reason, on one line; None if none does."""
        for text in self:
            shown = printable(_LEAD.sub("", text))
            if shown and not _EMPTY.search(shown):
                return shown.rstrip(".")
        return None


class _Listening(threading.local):
    errors: LoadErrors | None = None


_listening = _Listening()


@contextmanager
def load_errors() -> Iterator[LoadErrors]:
    """Collect the errors that llama.cpp reports in this thread; they go to the log all the same."""
    before, errors = _listening.errors, LoadErrors()
    _listening.errors = errors
    try:
        yield errors
    finally:
        _listening.errors = before


def _on_log(level: int, text: bytes, _user: object) -> None:
    """Whatever llama.cpp says, also of errors: those that matter come back as return codes."""
    said = text.decode("utf-8", "replace").rstrip()
    log.debug("%s", said)
    if level == _ERROR and _listening.errors is not None:
        _listening.errors.append(said)


# llama.cpp keeps the pointer, so the callback must live as long as the process.
_LOG_CALLBACK = lib.llama_log_callback(_on_log)


def start_library() -> None:
    """Make llama.cpp ready, and let it say here what it says."""
    lib.llama_log_set(_LOG_CALLBACK, None)
    lib.llama_backend_init()
