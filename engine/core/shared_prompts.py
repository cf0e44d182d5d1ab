"""Which running sequence is about to compute what a waiting one needs, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.core.phases import Phase
from engine.kvcache.prefix_match import common_prefix

if TYPE_CHECKING:
    from engine.core.sequence import Sequence


def leads(leader: Sequence, sequence: Sequence) -> bool:
    """Return True if a sibling is about to compute all that a sequence needs."""
    return (
        leader.prompt is sequence.prompt
        and leader.phase is Phase.PREFILL
        and not (leader.generated or sequence.generated)
    )


def awaits_prefix(sequence: Sequence, running: list[Sequence], min_shared: int) -> bool:
    """Return True if a running sequence is about to compute a good part of a prompt, and note which one.

    Args:
        sequence: Who waits.
        running: The sequences with a slot.
        min_shared: Tokens that must be left to compute.
    """
    if sequence.awaits is not None and _is_computing(*sequence.awaits):
        return True
    sequence.awaits = None
    for other in running:
        if other.phase is not Phase.PREFILL or other.prompt is sequence.prompt:
            continue
        if sequence.prompt.batch_invariant and not other.prompt.batch_invariant:
            continue
        shared = common_prefix(other.prompt.tokens, sequence.prompt.tokens[:-1])
        if shared >= other.computed + min_shared:
            sequence.awaits = (other, shared)
            return True
    return False


def _is_computing(other: Sequence, length: int) -> bool:
    return other.phase is Phase.PREFILL and other.computed < length
