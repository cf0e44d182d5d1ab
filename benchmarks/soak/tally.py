"""What became of the requests of one door."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Tally:
    """Counts of requests; each ends as one of the first four."""

    completed: int = 0
    """Answered to the end."""
    cancelled: int = 0
    """Given up by their clients."""
    refused: int = 0
    """Bad ones, and refused as such."""
    errors: int = 0
    """Anything else."""
    completion_tokens: int = 0
    """Of those that were completed."""
    first_error: str | None = None

    def note_error(self, error: str) -> None:
        """Count something that should not have been."""
        self.errors += 1
        self.first_error = self.first_error or error
