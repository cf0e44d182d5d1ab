"""The server's log, which nobody waits for: a full disk or a reader that is away must not stop a request."""

from __future__ import annotations

import logging
import os
import select
import threading
from collections import deque
from typing import Final

_MAX_BYTES: Final = 1 << 20
_FLUSH_SECONDS: Final = 1.0


class BackgroundLog(logging.Handler):
    """Hands lines to a thread that writes them; where it cannot keep up, new lines are dropped and counted.

    The thread writes to the descriptor itself. A stream, and the lock that :class:`logging.StreamHandler`
    holds while it writes, would make the end of the process wait for a write that never returns.

    Args:
        descriptor: Where the lines are written.
        max_bytes: How much may wait to be written.
    """

    def __init__(self, descriptor: int, *, max_bytes: int = _MAX_BYTES) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._max_bytes = max_bytes
        self._changed = threading.Condition()  # guards all of the following
        self._lines: deque[tuple[bytes, int]] = deque()  # each with the lines that it stands for
        self._n_bytes = 0
        self._n_dropped = 0
        self._is_writing = False
        threading.Thread(target=self._write_lines, name="nucleus-log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record's line, or drop it; this never waits and never fails."""
        line = self._line_of(record)
        with self._changed:
            if self._n_bytes + len(line) > self._max_bytes:
                self._n_dropped += 1
                return
            if self._n_dropped:
                note = _note("%d lines of this log were dropped: they could not be written", self._n_dropped)
                line = self._line_of(note) + line
            self._lines.append((line, self._n_dropped + 1))
            self._n_bytes += len(line)
            self._n_dropped = 0
            self._changed.notify_all()

    def _line_of(self, record: logging.LogRecord) -> bytes:
        try:
            text = self.format(record)
        except Exception as error:
            where, kind = f"{record.pathname}:{record.lineno}", type(error).__name__
            text = self.format(_note("a record of %s cannot be written: %s", where, kind))
        return (text + "\n").encode("utf-8", "backslashreplace")

    def flush(self) -> None:
        """Wait a second at most until all lines are written; logging does this when the process ends."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._lines or self._is_writing), _FLUSH_SECONDS)

    # --- the thread --------------------------------------------------------------------------------------

    def _write_lines(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._lines))
                self._is_writing = True
                line, count = self._lines.popleft()
            is_written = self._write(line)
            with self._changed:
                self._n_dropped += 0 if is_written else count
                self._n_bytes -= len(line)
                self._is_writing = False
                self._changed.notify_all()

    def _write(self, line: bytes) -> bool:
        """Return whether a line could be written, however long that has taken."""
        while line:
            try:
                line = line[os.write(self._descriptor, line) :]
            except BlockingIOError:  # whoever started the process may have asked for that
                select.select([], [self._descriptor], [])
            except OSError:  # a full disk, a reader that is gone
                return False
        return True


def _note(text: str, *values: object) -> logging.LogRecord:
    """Return a record about the log itself."""
    return logging.LogRecord("nucleus.log", logging.WARNING, __file__, 0, text, values, None)
