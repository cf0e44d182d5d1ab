"""What a step adds to a choice, and how that waits until it can be told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from engine.errors import EngineError

FinishReason = Literal["stop", "length"]


class TokenLogprob(NamedTuple):
    """What the model says about one token of a prompt or an answer."""

    token: int
    offset: int
    """Where it begins, in characters from the start of the prompt; 0 until it is known."""
    logprob: float | None
    """None where nothing comes before the token."""
    alternatives: tuple[tuple[int, float], ...]
    """(token, logprob) of the most probable tokens, best first."""


class Delta(NamedTuple):
    """What one step, or all of them, add to one choice."""

    choice: int
    text: str
    scores: tuple[TokenLogprob, ...]
    n_tokens: int
    """Tokens generated since the delta before."""
    logprob: float
    """The sum of their log-probabilities, where the sampler was asked for them."""
    finish_reason: FinishReason | None = None
    error: EngineError | None = None

    @property
    def is_last(self) -> bool:
        """True if nothing follows for this choice."""
        return self.finish_reason is not None or self.error is not None


class PendingDelta:
    """What a sequence has generated since its last delta."""

    __slots__ = ("logprob", "n_tokens", "scores", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.scores: list[TokenLogprob] = []
        self.n_tokens = 0
        self.logprob = 0.0
        """The sum of the tokens' log-probabilities."""

    def add_text(self, text: str) -> None:
        if text:
            self.texts.append(text)

    def release(self, choice: int, before: int | None, reason: FinishReason | None = None) -> Delta:
        """Return all text, and the scores of the tokens that begin before an offset (None: of all)."""
        delta = Delta(
            choice, "".join(self.texts), self._release_scores(before), self.n_tokens, self.logprob, reason
        )
        self.texts.clear()
        self.n_tokens, self.logprob = 0, 0.0
        return delta

    def _release_scores(self, before: int | None) -> tuple[TokenLogprob, ...]:
        count = 0
        for score in self.scores:
            if before is not None and score.offset >= before:
                break
            count += 1
        released = tuple(self.scores[:count])
        del self.scores[:count]
        return released
