"""The access log as a test reads it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from typing_extensions import override

from engine.serving.access_log import AccessLine

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 60


class Lines(logging.Handler):
    """Lines in the order in which they are written, by the event loop of the test."""

    def __init__(self) -> None:
        super().__init__()
        self._records: asyncio.Queue[logging.LogRecord] = asyncio.Queue()

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self._records.put_nowait(record)

    async def next(self) -> AccessLine:
        """Wait for the next line, which comes after its answer has been sent."""
        return (await self.next_record())[1]

    async def next_record(self) -> tuple[int, AccessLine]:
        """Return the level, too."""
        record = await asyncio.wait_for(self._records.get(), PATIENCE)
        line: object = record.msg
        assert isinstance(line, AccessLine)
        return record.levelno, line


@contextmanager
def access_lines() -> Iterator[Lines]:
    """Read what is written in this context."""
    log, lines = logging.getLogger("nucleus.access"), Lines()
    before = log.level
    log.setLevel(logging.DEBUG)
    log.addHandler(lines)
    try:
        yield lines
    finally:
        log.removeHandler(lines)
        log.setLevel(before)
