"""What one step does, as a list of facts: the scheduler decides it, the step loop carries it out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.core.sequence import Sequence


@dataclass(slots=True)
class Span:
    """Tokens of one sequence to decode in this step."""

    sequence: Sequence
    start: int
    tokens: list[int]
    draws: list[Sequence]
    """Who draws from the last token's logits: nobody in mid-prompt, else the sequence and its forks."""


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
class Save:
    """Copy the first ``length`` positions of a slot out of the cache, and keep them under a number."""

    slot: int
    length: int
    text: int


@dataclass(frozen=True, slots=True)
class Restore:
    """Put the first ``length`` positions of the text that is kept under a number into an empty slot."""

    text: int
    slot: int
    length: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Forget the text that is kept under a number."""

    text: int


Operation = Copy | Truncate | Save | Restore | Drop


@dataclass(slots=True)
class Plan:
    """One step: first the cache is arranged, in order, then the spans are decoded."""

    admitted: list[Sequence] = field(default_factory=list)
    preempted: list[Sequence] = field(default_factory=list)
    cache: list[Operation] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    n_decodes: int = 0
    """How many of the spans, the first ones, are of sequences that decode."""
