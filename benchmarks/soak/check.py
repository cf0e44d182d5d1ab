"""One thing that must hold at the end."""

from __future__ import annotations

from typing import NamedTuple


class Check(NamedTuple):
    """What must hold, whether it does, and what was found."""

    what: str
    holds: bool
    found: str

    def text(self) -> str:
        """Write one line."""
        return f"{'ok    ' if self.holds else 'FAILED'} {self.what}: {self.found}"
