"""One choice of one prompt as a state machine, without I/O.

::

    WAITING ──admitted──▶ PREFILL ──its text's last chunk is decoded──▶ DECODE ──▶ FINISHED
     ▲ └───────admitted beside a sibling that prefills──▶ FORK ─────────────┘│
     └───────────────────preempted, from any of the three───────────────────┘

``FORK`` is what makes ``n`` choices cost one prefill: the sequence waits for its sibling's prompt, shares its
KV cache and draws its first token from the very same row of logits. A sequence that was preempted keeps what
it has generated: its text is then the prompt and that.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum, auto
from math import inf
from typing import TYPE_CHECKING, Literal, NamedTuple

from engine.core.text import TextStream

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from engine.errors import EngineError
    from engine.sampling import SamplingParams

FinishReason = Literal["stop", "length"]


class Phase(Enum):
    """Where a sequence stands; see the picture at the head of the file."""

    WAITING = auto()
    PREFILL = auto()
    FORK = auto()
    DECODE = auto()
    FINISHED = auto()


class Score(NamedTuple):
    """What the model says about a token of a text."""

    logprob: float | None
    alternatives: tuple[tuple[int, float], ...]
    """(token, logprob) of the most probable tokens, best first."""


class TokenScore(NamedTuple):
    """One token of an answer with what the model says about it."""

    token: int
    offset: int
    logprob: float | None
    """None where nothing comes before the token."""
    alternatives: tuple[tuple[int, float], ...]
    """(token, logprob) of the most probable tokens, best first."""


class Delta(NamedTuple):
    """What one step, or all of them, add to one choice."""

    choice: int
    text: str
    scores: tuple[TokenScore, ...]
    n_tokens: int
    """Tokens generated since the delta before."""
    logprob: float
    """The sum of their log-probabilities, where the sampler was asked for them."""
    finish_reason: FinishReason | None = None
    error: EngineError | None = None

    @property
    def is_last(self) -> bool:
        """Tell whether nothing follows for this choice."""
        return self.finish_reason is not None or self.error is not None


@dataclass(frozen=True, slots=True)
class StopRules:
    """What ends a choice besides its length."""

    tokens: frozenset[int] = frozenset()
    strings: tuple[str, ...] = ()
    keep: bool = False
    """Whether what ended the choice stays in its text."""
    min_tokens: int = 0
    """Tokens to generate before any of this counts."""


@dataclass(eq=False, slots=True)
class Prompt:
    """A prompt and the sequences that continue it."""

    owner: Hashable
    """Whose request this is; what :meth:`Scheduler.cancel` is given."""
    tokens: list[int]
    text_length: int
    """Characters of the prompt's text, where the offsets of generated tokens begin."""
    half: bytes = b""
    """The first bytes of a character that the prompt ends in, and its choices may complete."""
    client: Hashable = None
    """Whose turn it takes to run; what :class:`engine.core.queue.FairQueue` is fair to."""
    sequences: list[Sequence] = field(default_factory=list)
    batch_invariant: bool = False
    """Whether the same answer is expected again, to the bit, whoever else is served meanwhile."""
    in_parts: bool = True
    """Whether a choice is told as it grows, or once, when it has ended."""
    n_alternatives: int | None = None
    """How many alternatives to report with each of its own tokens; None: they are not scored."""
    scores: list[Score] = field(default_factory=list)
    """Of its own tokens from the second on, as far as they are known."""
    n_cached: int = 0
    """Tokens that were in the KV cache when its first sequence was admitted."""

    @property
    def lacks_scores(self) -> bool:
        """Tell whether scores of its own tokens are wanted, and not all of them are known."""
        return self.n_alternatives is not None and len(self.scores) < len(self.tokens) - 1


class Sequence:
    """One choice: what it has generated, and what it may still do."""

    __slots__ = (
        "_fresh",
        "_fresh_logprob",
        "_held",
        "_texts",
        "awaits",
        "choice",
        "computed",
        "generated",
        "max_tokens",
        "n_preempted",
        "params",
        "phase",
        "prompt",
        "slot",
        "stop",
        "stream",
        "text",
        "turn",
    )

    def __init__(
        self,
        prompt: Prompt,
        choice: int,
        params: SamplingParams,
        *,
        max_tokens: int,
        stop: StopRules,
        stream: int = 0,
    ) -> None:
        self.prompt = prompt
        self.choice = choice
        self.params = params
        self.max_tokens = max_tokens
        self.stop = stop
        self.stream = stream
        self.phase = Phase.WAITING
        self.slot = -1
        self.computed = 0
        """Positions of prompt and generated tokens that the KV cache holds."""
        self.turn = -1
        """How many sequences had their turn before it; the queue tells when it comes."""
        self.n_preempted = 0
        self.awaits: tuple[Sequence, int] | None = None
        """Who computes how long a part of the prompt, while this sequence waits for it."""
        self.generated: list[int] = []
        self.text = TextStream(stop.strings, start=prompt.text_length, keep_stop=stop.keep, half=prompt.half)
        self._texts: list[str] = []  # let go, and not told yet
        self._held: list[TokenScore] = []  # scores that have not been told
        self._fresh = 0  # tokens since the last delta
        self._fresh_logprob = 0.0

    @property
    def sampling(self) -> SamplingParams:
        """How its next token is drawn: before its least number of tokens, none that would end it."""
        if len(self.generated) >= self.stop.min_tokens:
            return self.params
        banned = dict.fromkeys(self.stop.tokens, -inf)
        return replace(self.params, logit_bias={**self.params.logit_bias, **banned})

    @property
    def may_now_end(self) -> bool:
        """Tell whether the token before was the last in which it could not end."""
        return len(self.generated) == self.stop.min_tokens

    @property
    def tokens(self) -> list[int]:
        """The text so far: the prompt, and what was generated behind it."""
        return self.prompt.tokens + self.generated if self.generated else self.prompt.tokens

    @property
    def length(self) -> int:
        """Tokens of the text so far."""
        return len(self.prompt.tokens) + len(self.generated)

    @property
    def most_cells(self) -> int:
        """KV cells that it takes in the end: the last token is never decoded."""
        return len(self.prompt.tokens) + max(self.max_tokens - 1, 0)

    def preempt(self) -> None:
        """Lose the slot, and nothing else."""
        self.phase = Phase.WAITING
        self.slot, self.computed, self.awaits = -1, 0, None
        self.n_preempted += 1

    def advance(
        self,
        token: int,
        logprob: float,
        alternatives: tuple[tuple[int, float], ...],
        piece_of: Callable[[int], bytes],
    ) -> Delta | None:
        """Take one drawn token; return what is to be told now, or None."""
        self.generated.append(token)
        self._fresh += 1
        self._fresh_logprob += logprob
        may_stop = len(self.generated) > self.stop.min_tokens
        ended = may_stop and token in self.stop.tokens
        if self.params.logprobs is not None:
            self._held.append(TokenScore(token, self.text.offset, logprob, alternatives))
        text = "" if ended and not self.stop.keep else self.text.push(piece_of(token), may_stop=may_stop)
        if text:
            self._texts.append(text)
        reason = self._finish_reason(ended=ended)
        if reason is None:
            return self._tell(self.text.released) if text and self.prompt.in_parts else None
        self.phase = Phase.FINISHED
        if self.text.stopped:
            return self._tell(self.text.released, reason)
        self._texts.append(self.text.finish())
        return self._tell(None, reason)

    def end(self) -> Delta:
        """End a choice that generates nothing, once its prompt is computed."""
        self.phase = Phase.FINISHED
        return self._tell(None, "length")

    def fail(self, error: EngineError) -> Delta:
        """End the choice with an error."""
        self.phase = Phase.FINISHED
        return Delta(self.choice, "", (), self._fresh, self._fresh_logprob, error=error)

    def _finish_reason(self, *, ended: bool) -> FinishReason | None:
        if ended or self.text.stopped:
            return "stop"
        return "length" if len(self.generated) >= self.max_tokens else None

    def _tell(self, before: int | None, reason: FinishReason | None = None) -> Delta:
        """Tell the text that was let go, and the scores of tokens that begin before an offset, or of all."""
        text, count, logprob = "".join(self._texts), self._fresh, self._fresh_logprob
        self._texts.clear()
        self._fresh, self._fresh_logprob = 0, 0.0
        return Delta(self.choice, text, self._release_scores(before), count, logprob, reason)

    def _release_scores(self, before: int | None) -> tuple[TokenScore, ...]:
        count = 0
        for score in self._held:
            if before is not None and score.offset >= before:
                break
            count += 1
        released = tuple(self._held[:count])
        del self._held[:count]
        return released
