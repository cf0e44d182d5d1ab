"""Errors that the server logs while it is watched: nothing that clients do should bring one about."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from benchmarks.soak.check import Check

if TYPE_CHECKING:
    from collections.abc import Iterator


class Complaints(logging.Handler):
    """Counts records of level ERROR and above, of all loggers, and remembers the first."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._count = 0
        self._first: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self._count += 1
        self._first = self._first or f"{record.name}: {self.format(record)}"

    @contextmanager
    def heard(self) -> Iterator[Self]:
        """Count for as long as the context lasts."""
        root = logging.getLogger()
        root.addHandler(self)
        try:
            yield self
        finally:
            root.removeHandler(self)

    def check(self) -> Check:
        """Tell whether there were none."""
        told = f"{self._count} errors" + (f"; the first: {self._first}" if self._first else "")
        return Check("nothing is logged as an error", not self._count, told)
