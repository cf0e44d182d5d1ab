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

from dataclasses import dataclass, field
from enum import Enum, auto
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


class TokenScore(NamedTuple):
    """One generated token with what the sampler said about it."""

    token: int
    offset: int
    logprob: float
    alternatives: tuple[tuple[int, float], ...]
    """(token, logprob) of the most probable tokens, best first."""


class Delta(NamedTuple):
    """What one step, or all of them, add to one choice."""

    choice: int
    text: str
    scores: tuple[TokenScore, ...]
    n_tokens: int
    """Tokens generated since the delta before."""
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
    keep_string: bool = False


@dataclass(eq=False, slots=True)
class Prompt:
    """A prompt and the sequences that continue it."""

    owner: Hashable
    """Whose request this is; what :meth:`Scheduler.cancel` is given."""
    tokens: list[int]
    text_length: int
    """Characters of the prompt's text, where the offsets of generated tokens begin."""
    client: Hashable = None
    """Whose turn it takes to run; what :class:`engine.core.queue.FairQueue` is fair to."""
    sequences: list[Sequence] = field(default_factory=list)
    repeats: bool = False
    """Whether the same answer is expected again, to the bit, where nobody else is served meanwhile."""
    in_parts: bool = True
    """Whether a choice is told as it grows, or once, when it has ended."""
    n_cached: int = 0
    """Tokens that were in the KV cache when its first sequence was admitted."""


class Sequence:
    """One choice: what it has generated, and what it may still do."""

    __slots__ = (
        "_fresh",
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
        self.text = TextStream(stop.strings, start=prompt.text_length, keep_stop=stop.keep_string)
        self._texts: list[str] = []  # let go, and not told yet
        self._held: list[TokenScore] = []  # scores that have not been told
        self._fresh = 0  # tokens since the last delta

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
        return len(self.prompt.tokens) + self.max_tokens - 1

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
        ended = token in self.stop.tokens
        if self.params.logprobs is not None:
            self._held.append(TokenScore(token, self.text.offset, logprob, alternatives))
        text = "" if ended else self.text.push(piece_of(token))
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

    def fail(self, error: EngineError) -> Delta:
        """End the choice with an error."""
        self.phase = Phase.FINISHED
        return Delta(self.choice, "", (), self._fresh, error=error)

    def _finish_reason(self, *, ended: bool) -> FinishReason | None:
        if ended or self.text.stopped:
            return "stop"
        return "length" if len(self.generated) >= self.max_tokens else None

    def _tell(self, before: int | None, reason: FinishReason | None = None) -> Delta:
        """Tell the text that was let go, and the scores of tokens that begin before an offset, or of all."""
        text, count = "".join(self._texts), self._fresh
        self._texts.clear()
        self._fresh = 0
        return Delta(self.choice, text, self._release_scores(before), count, reason)

    def _release_scores(self, before: int | None) -> tuple[TokenScore, ...]:
        count = 0
        for score in self._held:
            if before is not None and score.offset >= before:
                break
            count += 1
        released = tuple(self._held[:count])
        del self._held[:count]
        return released
