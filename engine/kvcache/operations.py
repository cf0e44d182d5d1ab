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
    """Empty one slot, and leave its cells in use by nobody until :class:`FreeDeferred`."""

    slot: int


@dataclass(frozen=True, slots=True)
class FreeDeferred:
    """Free the cells of every :class:`DeferFree`."""


@dataclass(frozen=True, slots=True)
class Save:
    """Copy the first ``length`` positions of a slot to host memory, under an entry id."""

    slot: int
    length: int
    entry_id: int


@dataclass(frozen=True, slots=True)
class Restore:
    """Copy the first ``length`` positions of an entry into an empty slot."""

    entry_id: int
    slot: int
    length: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Discard an entry."""

    entry_id: int


Operation = Copy | Truncate | DeferFree | FreeDeferred | Save | Restore | Drop
