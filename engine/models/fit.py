"""Whether a model fits into this machine's memory, and with which context."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from engine import hardware
from engine.models.display import format_size

if TYPE_CHECKING:
    from engine.models.facts import ModelFacts

MEMORY_SHARE: Final = 4
"""The KV cache takes at most this part of the free memory, unless it is told otherwise."""
_CELLS: Final = 256
"""The KV cache has a multiple of so many cells, unless it has all that the model was trained for."""


def affordable_context(trained: int, cell_bytes: int, memory: int | None) -> int:
    """Return the tokens that the KV cache holds where nobody says how many; 0 if memory is too small.

    Args:
        trained: Tokens that the model was trained for.
        cell_bytes: Bytes that one token takes, or 0 where nobody knows.
        memory: Bytes that are free, or None where nobody knows.

    >>> affordable_context(8192, 1 << 10, 1 << 30), affordable_context(8192, 1 << 17, 1 << 30)
    (8192, 2048)
    """
    if memory is None or not cell_bytes:
        return trained
    affordable = memory // MEMORY_SHARE // cell_bytes
    return trained if affordable >= trained else affordable // _CELLS * _CELLS


@dataclass(frozen=True, slots=True)
class FitReport:
    """The memory that a model needs, beside what is free; None stands for what nobody knows."""

    weights_bytes: int
    """The bytes of its files, which are mapped into memory."""
    context: int | None
    """Tokens of context: those asked for, or those that ``serve`` would choose; 0 if none fit."""
    kv_bytes: int | None
    """The bytes of the KV cache for this context."""
    available: int | None
    """Bytes of memory that are free."""

    @property
    def needed(self) -> int:
        """The bytes that it needs together."""
        return self.weights_bytes + (self.kv_bytes or 0)

    @property
    def fits(self) -> bool | None:
        """Whether all of it fits into what is free; None if that is not known."""
        if self.context == 0:
            return False
        if self.available is None:
            return None
        if self.needed > self.available:
            return False
        return None if self.kv_bytes is None else True

    def __str__(self) -> str:
        if self.kv_bytes is None:
            needs = f"needs {format_size(self.weights_bytes)} for its weights, and some for its context"
        elif not self.context:
            needs = (
                f"needs {format_size(self.weights_bytes)} for its weights, and leaves nothing for a context"
            )
        else:
            needs = f"needs {format_size(self.needed)} with a context of {self.context} tokens"
        if self.available is None:
            return f"{needs}; how much memory is free is not known"
        verdict = {True: "fits into", False: "does not fit into", None: "may fit into"}[self.fits]
        return f"{needs}: {verdict} the {format_size(self.available)} of memory that are free"

    def as_json(self) -> dict[str, Any]:
        """Return the report as a mapping of plain values."""
        return {**dataclasses.asdict(self), "needed": self.needed, "fits": self.fits}


def fit_report(
    weights_bytes: int, facts: ModelFacts | None, *, context: int | None = None, memory: int | None = None
) -> FitReport:
    """Return whether a model fits.

    Args:
        weights_bytes: The bytes of its files.
        facts: What is known of it, if anything.
        context: Tokens of context; None for what ``serve`` would choose.
        memory: Bytes that are free; None for what this machine has.
    """
    available = hardware.available_memory() if memory is None else memory
    cell_bytes = facts.cell_bytes if facts else None
    trained = facts.context if facts else None
    if context is None and trained is not None and cell_bytes is not None:
        context = affordable_context(trained, cell_bytes, available)
    kv_bytes = None if context is None or cell_bytes is None else context * cell_bytes
    return FitReport(weights_bytes, context, kv_bytes, available)
