"""One step as data: the scheduler decides it, the step loop carries it out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.backend.invariance import NO_PADDING, Padding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.core.sequence import Sequence
    from engine.kvcache.operations import Operation


@dataclass(slots=True)
class Span:
    """Tokens of a sequence to decode in this step before it draws: of its prompt, or forced by its form."""

    sequence: Sequence
    start: int
    tokens: list[int]
    draws: list[Sequence]
    """Sequences that draw from the last token's logits: none in mid-prompt, else this one and its forks."""
    is_scored: bool = False
    """Whether every token leaves a row of logits, and not only the last one, from which sequences draw."""

    @property
    def n_rows(self) -> int:
        """Rows of logits that it leaves."""
        return len(self.tokens) if self.is_scored else int(bool(self.draws))

    @property
    def end(self) -> int:
        """Tokens of the text that are computed afterwards."""
        return self.start + len(self.tokens)


@dataclass(slots=True)
class Plan:
    """One step: first the cache is arranged, in order, then one batch is decoded, and tokens are drawn."""

    admitted: list[Sequence] = field(default_factory=list)
    preempted: list[Sequence] = field(default_factory=list)
    cache: list[Operation] = field(default_factory=list)
    decodes: list[Sequence] = field(default_factory=list)
    """The sequences that decode the token drawn last, and draw another one."""
    drafts: list[tuple[Sequence, list[int]]] = field(default_factory=list)
    """Guesses at the tokens that follow those of some decodes; every one of them leaves a row of logits."""
    prompts: list[Span] = field(default_factory=list)
    padding: Padding = NO_PADDING
    """What to decode besides, for nobody: it makes the step cheaper, or batch-invariant."""
    batch_invariant: bool = False
    """Whether a sequence takes part whose logits must not depend on the rest of the batch."""

    n_drafted: int = 0
    """Tokens of all guesses."""
    n_tokens: int = 0
    """Tokens to decode for somebody: those of decodes come first, then guesses, then prompts."""
    n_rows: int = 0
    """Rows of logits that they leave."""

    def count(self) -> None:
        """Count what was planned, since every step asks several times."""
        self.n_drafted = sum(len(draft) for _, draft in self.drafts) if self.drafts else 0
        self.n_tokens = self.n_rows = len(self.decodes) + self.n_drafted
        for span in self.prompts:
            self.n_tokens += len(span.tokens)
            self.n_rows += span.n_rows

    def drawers(self) -> Iterator[Sequence]:
        """Yield each sequence that draws."""
        yield from self.decodes
        for span in self.prompts:
            yield from span.draws

    def first_draws(self) -> Iterator[tuple[int, Sequence]]:
        """Yield each sequence that draws its first token, with the row of logits that it draws from."""
        end = len(self.decodes) + self.n_drafted
        for span in self.prompts:
            end += span.n_rows
            yield from ((end - 1, sequence) for sequence in span.draws if sequence.max_tokens)
