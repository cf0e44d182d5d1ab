"""What is done to the KV cache before a step: the slots decide it, the step loop carries it out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Copy:
    """Share the first ``length`` positions of one slot's cache with another slot."""

    source: int
    target: int
    length: int


@dataclass(frozen=True, slots=True)
class Truncate:
    """Cut one slot's cache to its first ``length`` positions."""

    slot: int
    length: int


@dataclass(frozen=True, slots=True)
class DeferFree:
    """Empty one slot, but leave its cells as they are: nobody's, and in nobody's way."""

    slot: int


@dataclass(frozen=True, slots=True)
class FreeDeferred:
    """Free all cells that were left by a :class:`DeferFree`."""


@dataclass(frozen=True, slots=True)
class Save:
    """Copy the first ``length`` positions of a slot out of the cache, and keep them under a number."""

    slot: int
    length: int
    entry_id: int


@dataclass(frozen=True, slots=True)
class Restore:
    """Put the first ``length`` positions of the text that is kept under a number into an empty slot."""

    entry_id: int
    slot: int
    length: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Forget the text that is kept under a number."""

    entry_id: int


Operation = Copy | Truncate | DeferFree | FreeDeferred | Save | Restore | Drop
