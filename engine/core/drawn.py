"""The tokens that one step has drawn, until they are text."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple

from engine.sampling import Draws

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.core.sequence import Sequence

    Alternatives = tuple[tuple[int, float], ...]


class Forced(NamedTuple):
    """Sequences that have taken tokens which their form forces, and how many."""

    taken: list[tuple[Sequence, int]]

    def scored(self) -> Iterator[tuple[Sequence, float, Alternatives]]:
        """Yield each sequence once for each of its tokens; none has a log-probability."""
        return ((sequence, 0.0, ()) for sequence, count in self.taken for _ in range(count))


class Drawn(NamedTuple):
    """Sequences that have taken their tokens, with the rows of their draws."""

    sequences: list[Sequence]
    rows: list[int] | None
    """None: each has one, in order."""
    draws: Draws

    def kept(self) -> Drawn:
        """Return the same, but out of the sampler's memory, which its next call overwrites."""
        tokens, logprobs, top_tokens, top_logprobs, status = self.draws
        draws = Draws(tokens.copy(), logprobs.copy(), top_tokens.copy(), top_logprobs.copy(), status.copy())
        return self._replace(draws=draws)

    def scored(self) -> Iterator[tuple[Sequence, float, Alternatives]]:
        """Yield each sequence with the log-probability and alternatives that are wanted of its token."""
        wanted = [sequence.params.logprobs for sequence in self.sequences]
        if all(count is None for count in wanted):
            return zip(self.sequences, repeat(0.0), repeat(()))
        logprobs, tops, top_logprobs = self.draws.logprobs, self.draws.top_tokens, self.draws.top_logprobs
        if self.rows is not None:
            logprobs, tops, top_logprobs = logprobs[self.rows], tops[self.rows], top_logprobs[self.rows]
        columns = zip(
            self.sequences,
            wanted,
            logprobs.tolist(),  # Python's own numbers are cheaper to take than numpy's
            tops.tolist(),
            top_logprobs.tolist(),
            strict=True,
        )
        return (
            (
                sequence,
                logprob,
                tuple(zip(tokens[:count], scores[:count], strict=True)) if count else (),
            )
            for sequence, count, logprob, tokens, scores in columns
        )
