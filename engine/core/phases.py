"""The phases of a sequence, and every transition between them.

::

               ┌────────── preempted ──────────┐
               ▼                               │
            WAITING ──admitted──▶ PREFILL ──prompt computed──▶ DECODE ──▶ FINISHED
               └──admitted beside a sibling──▶ FORK ──sibling's done──▶ DECODE

A sequence that holds a slot may be preempted in any phase, back to WAITING, and goes on later with what it
has generated. A sequence may finish in any phase: it is done, it fails, or it is cancelled.

``FORK`` makes ``n`` choices cost one prefill: the sequence waits for its sibling's prompt, shares its KV
cache and draws its first token from the same row of logits.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class Phase(Enum):
    """Where a sequence stands; see the diagram at the head of the file."""

    WAITING = auto()
    """It has no slot."""
    PREFILL = auto()
    """It has a slot, and a part of its tokens is not computed yet."""
    FORK = auto()
    """It has a slot, and a sibling computes the prompt for it."""
    DECODE = auto()
    """Each step decodes its last token and draws the next one."""
    FINISHED = auto()
    """Its last delta has been told."""


TRANSITIONS: Final[Mapping[Phase, frozenset[Phase]]] = {
    Phase.WAITING: frozenset({Phase.PREFILL, Phase.FORK, Phase.FINISHED}),
    Phase.PREFILL: frozenset({Phase.DECODE, Phase.WAITING, Phase.FINISHED}),
    Phase.FORK: frozenset({Phase.DECODE, Phase.WAITING, Phase.FINISHED}),
    Phase.DECODE: frozenset({Phase.WAITING, Phase.FINISHED}),
    Phase.FINISHED: frozenset(),
}
"""Every phase with the phases that may follow it."""


class PhaseError(RuntimeError):
    """A sequence was moved to a phase that cannot follow its own: a bug of the engine."""

    def __init__(self, now: Phase, wanted: Phase) -> None:
        super().__init__(f"a sequence in phase {now.name} cannot move to {wanted.name}")


def check_transition(now: Phase, wanted: Phase) -> None:
    """Check that ``wanted`` may follow ``now``.

    Raises:
        PhaseError: it may not.
    """
    if wanted not in TRANSITIONS[now]:
        raise PhaseError(now, wanted)
