"""How the prompts of a step share the room that its decodes leave."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.core.plan import Span
    from engine.core.sequence import Sequence


class PromptRoom:
    """The prompt tokens for which a step still has room.

    Args:
        n_tokens: Prompt tokens in all.
        n_scored: Those of them whose logits can be read.
        n_reserved: Tokens that one sequence needs; up to half of the room is kept for it.
    """

    def __init__(self, n_tokens: int, n_scored: int, *, n_reserved: int) -> None:
        self._n_tokens = n_tokens
        self._n_scored = n_scored
        self._n_reserved = min(n_reserved, n_tokens - n_tokens // 2)

    def end_reservation(self) -> None:
        """Open the reserved half: it is the turn of the sequence for which it was kept."""
        self._n_reserved = 0

    def limit(self, sequence: Sequence) -> int:
        """Return the most tokens that a sequence may take; 0 or less: none."""
        limit = self._n_tokens - self._n_reserved
        return min(limit, self._n_scored) if sequence.prompt.lacks_scores else limit

    def take(self, span: Span) -> None:
        """Count the tokens of a span."""
        self._n_tokens -= len(span.tokens)
        self._n_scored -= len(span.tokens) if span.is_scored else 0


def prefill_order(sequence: Sequence) -> tuple[bool, int]:
    """Sort preempted sequences first, then those with the fewest tokens to compute."""
    return not sequence.n_preempted, remaining(sequence)


def remaining(sequence: Sequence) -> int:
    """Return how many tokens of a sequence are not computed yet."""
    return sequence.length - sequence.computed
