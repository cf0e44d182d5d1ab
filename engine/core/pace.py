"""How many prompt tokens a step can take without making running streams wait."""

from __future__ import annotations

_PATIENCE = 1.0
"""Prompt tokens may add so much to the time of a step, as a part of what its decodes take alone."""
_FEWEST = 4
_WEIGHT = 0.25
"""Of the newest step, in the averages."""


class Pace:
    """Learns what decodes and prompt tokens cost on this machine, from the steps that were taken.

    Args:
        budget: Most tokens of a step.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._decodes: float | None = None  # seconds of a step that only decodes
        self._token: float | None = None  # seconds that a prompt token adds to a step

    @property
    def prompt_tokens(self) -> int:
        """Most prompt tokens in a step in which others decode."""
        if self._decodes is None or self._token is None:
            return min(self._budget, 4 * _FEWEST)
        affordable = int(_PATIENCE * self._decodes / self._token)
        return min(self._budget, max(_FEWEST, affordable))

    def note(self, decodes: int, prompt_tokens: int, seconds: float) -> None:
        """Learn from a step of so many decoding sequences and prompt tokens."""
        if prompt_tokens == 0:
            self._decodes = _averaged(self._decodes, seconds)
        elif decodes == 0:
            self._token = _averaged(self._token, seconds / prompt_tokens)
        elif self._decodes is not None and seconds > self._decodes:
            self._token = _averaged(self._token, (seconds - self._decodes) / prompt_tokens)


def _averaged(before: float | None, now: float) -> float:
    return now if before is None else before + _WEIGHT * (now - before)
