"""The phases of a sequence, and every transition between them.

``docs/architecture.md`` has the diagram, which a test draws from :data:`TRANSITIONS`.

``FORK`` makes ``n`` choices cost one prefill: the sequence waits for its sibling's prompt, shares its KV
cache and draws its first token from the same row of logits.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class Phase(Enum):
    """Where a sequence stands."""

    WAITING = auto()
    """It has no slot."""
    PREFILL = auto()
    """It has a slot, and a part of its tokens is not computed yet."""
    FORK = auto()
    """It has a slot, and a sibling computes the prompt for it."""
    DECODE = auto()
    """Each step decodes its last token and draws the next one."""
    FINISHED = auto()
    """It has given its slot back, or is about to; its last delta may not be told yet."""


_LEAVES: Final = {Phase.WAITING: "preempted", Phase.FINISHED: "cancelled or failed"}

TRANSITIONS: Final[Mapping[Phase, Mapping[Phase, str]]] = {
    Phase.WAITING: {
        Phase.PREFILL: "admitted",
        Phase.FORK: "admitted beside a sibling in PREFILL",
        Phase.FINISHED: "its text had ended",
    },
    Phase.PREFILL: {Phase.DECODE: "its prompt is computed", **_LEAVES},
    Phase.FORK: {Phase.DECODE: "the sibling's prompt is computed", **_LEAVES},
    Phase.DECODE: {Phase.WAITING: "preempted", Phase.FINISHED: "done, cancelled or failed"},
    Phase.FINISHED: {},
}
"""Every phase with the phases that may follow it, and why. A sequence that is cancelled while it waits is
forgotten: it never moves again."""


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
