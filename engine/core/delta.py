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
    is_forced: bool = False
    """Whether the form of the answer left no choice about its text."""


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
    tokens: tuple[int, ...] = ()
    """The ids of those tokens, where they are wanted."""
    prompt_tokens: list[int] | None = None
    """The prompt's, on the first delta of a choice, where they are wanted."""

    @property
    def is_last(self) -> bool:
        """True if nothing follows for this choice."""
        return self.finish_reason is not None or self.error is not None


class PendingDelta:
    """What a sequence has generated since its last delta.

    Args:
        start: Offset of the first character, counted from the start of the prompt.
    """

    __slots__ = ("_released", "logprob", "n_tokens", "scores", "texts", "tokens")

    def __init__(self, start: int = 0) -> None:
        self.texts: list[str] = []
        self.scores: list[TokenLogprob] = []
        self.tokens: list[tuple[int, int]] = []
        """(token, offset behind its last character), where ids are wanted."""
        self.n_tokens = 0
        self.logprob = 0.0
        """The sum of the tokens' log-probabilities."""
        self._released = start

    def add_text(self, text: str) -> None:
        if text:
            self.texts.append(text)

    def release(self, choice: int, before: int | None, reason: FinishReason | None = None) -> Delta:
        """Return all text, and the scores of the tokens that begin before an offset (None: of all)."""
        text, scores = "".join(self.texts), self._release_scores(before)
        tokens = tuple([token for token, _ in self.tokens])
        delta = Delta(choice, text, scores, self.n_tokens, self.logprob, reason, tokens=tokens)
        self.texts.clear()
        self.tokens.clear()
        self.n_tokens, self.logprob = 0, 0.0
        return delta

    def release_whole_tokens(self, choice: int, before: int) -> Delta | None:
        """Return the tokens that end before an offset, with their text and scores; None: there is none.

        Whoever has these tokens knows what text it has. That makes it possible to go on behind them.
        """
        count, end = 0, self._released
        for number, (_, token_end) in enumerate(self.tokens, start=1):
            if token_end > before:
                break
            if token_end > end:
                count, end = number, token_end
        if not count:
            return None
        text, length = "".join(self.texts), end - self._released
        tokens, scores = tuple([token for token, _ in self.tokens[:count]]), tuple(self.scores[:count])
        delta = Delta(choice, text[:length], scores, count, self.logprob, tokens=tokens)
        self.texts = [text[length:]] if len(text) > length else []
        del self.tokens[:count], self.scores[:count]
        self.n_tokens, self.logprob, self._released = self.n_tokens - count, 0.0, end
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
