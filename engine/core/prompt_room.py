"""How the prompts of a step share the room that its decodes leave."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.core.plan import Span
    from engine.core.sequence import Sequence


class PromptRoom:
    """The prompt tokens for which a step still has room.

    Args:
        n_tokens: Prompt tokens in all.
        n_scored: Those of them whose logits can be read.
    """

    def __init__(self, n_tokens: int, n_scored: int) -> None:
        self._n_tokens = n_tokens
        self._n_scored = n_scored
        self._n_reserved = 0

    def spread(self, waiting: list[Sequence], chunk: Callable[[Sequence, int], Span]) -> list[Span]:
        """Give the room to prompts: at least half of it to the oldest sequence.

        The rest goes to preempted sequences first, then to the shortest prompt. So a short prompt does not
        wait behind a long one, and short ones cannot hold up a long one for ever. Preempted sequences come
        first because a client is in the middle of their answer; if they came after new sequences, these could
        take the slot away again before the answer gets on.

        Args:
            waiting: Sequences that wait for their prompts, at least one.
            chunk: Returns so many of the next tokens of a prompt, or all that are left.
        """
        oldest = min(waiting, key=lambda sequence: sequence.turn)
        self._n_reserved = min(_remaining(oldest), self._n_tokens - self._n_tokens // 2)
        spans: list[Span] = []
        for sequence in sorted(waiting, key=_order):
            if sequence is oldest:
                self._n_reserved = 0
            if (limit := self._limit(sequence)) > 0:
                spans.append(span := chunk(sequence, limit))
                self._take(span)
        return spans

    def _limit(self, sequence: Sequence) -> int:
        """Return the most tokens that a sequence may take; 0 or less: none."""
        limit = self._n_tokens - self._n_reserved
        return min(limit, self._n_scored) if sequence.prompt.lacks_scores else limit

    def _take(self, span: Span) -> None:
        self._n_tokens -= len(span.tokens)
        self._n_scored -= len(span.tokens) if span.is_scored else 0


def _order(sequence: Sequence) -> tuple[bool, int]:
    """Sort preempted sequences first, then those with the fewest tokens to compute."""
    return not sequence.n_preempted, _remaining(sequence)


def _remaining(sequence: Sequence) -> int:
    return sequence.length - sequence.computed
