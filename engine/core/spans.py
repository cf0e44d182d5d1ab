"""The tokens of sequences that are computed before they draw: of prompts, and what forms have forced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.core.phases import Phase
from engine.core.plan import Span
from engine.core.shared_prompts import leads

if TYPE_CHECKING:
    from engine.core.sequence import Sequence


def prompt_span(sequence: Sequence, room: int, running: list[Sequence]) -> Span:
    """Return the next ``room`` tokens of a prompt; if they are its last, with the sequences that draw."""
    start, tokens, is_scored = sequence.computed, sequence.tokens, sequence.prompt.lacks_scores
    chunk = tokens[start : start + room]
    if start + len(chunk) < len(tokens):
        return Span(sequence, start, chunk, [], is_scored)
    forks = [other for other in running if other.phase is Phase.FORK and leads(sequence, other)]
    return Span(sequence, start, chunk, [sequence, *forks], is_scored)


def forced_spans(decodes: list[Sequence], room: int) -> list[Span]:
    """Return the token that each sequence drew last with those that its form has forced behind it.

    They are as good as drawn, so they take all of the room that they need.
    """
    spans: list[Span] = []
    for sequence in decodes:
        if sequence.n_forced and room > 0:
            tokens = sequence.generated[-1 - sequence.n_forced :][:room]
            draws = [sequence] if len(tokens) > sequence.n_forced else []
            spans.append(Span(sequence, sequence.computed, tokens, draws))
            room -= len(tokens)
    return spans
