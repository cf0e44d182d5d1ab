"""One choice of one prompt, without I/O: what it has generated, and what it may still say."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING

from engine.core.delta import Delta, FinishReason, PendingDelta, TokenLogprob
from engine.core.drafter import Drafter
from engine.core.lookup import PromptIndex
from engine.core.phases import Phase, check_transition
from engine.core.text import TextStream

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from engine.errors import EngineError
    from engine.grammar.matcher import Matcher
    from engine.sampling import SamplingParams


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
    """Whether its logits must not depend on what else is in the batch, to the bit."""
    in_parts: bool = True
    """Whether a choice is delivered as it grows, or once, when it has ended."""
    shows_tokens: bool = False
    """Whether deltas have the ids of their tokens; then each of them has the text of whole tokens."""
    n_alternatives: int | None = None
    """How many alternatives to report with each of its own tokens; None: they are not scored."""
    scores: list[TokenLogprob] = field(default_factory=list)
    """Of its own tokens from the second on, as far as they are known."""
    n_resumed: int = 0
    """Tokens of its answer that whoever asks has already."""
    n_cached: int = 0
    """Tokens that were in the KV cache when its first sequence was admitted."""
    n_drafted: int = 0
    """Tokens that were guessed for its sequences, and computed."""
    n_accepted: int = 0
    """Those of them that were drawn, too."""
    admitted_at: float | None = None
    """When its first sequence was given a slot, by ``time.monotonic``."""
    first_token_at: float | None = None
    """When the first token behind it was drawn."""
    index: PromptIndex = field(init=False)
    """Where its groups of tokens stand, for its sequences' guesses."""

    def __post_init__(self) -> None:
        self.index = PromptIndex(self.tokens)

    @property
    def lacks_scores(self) -> bool:
        """True if scores of its own tokens are wanted, and some of them are not known yet."""
        return self.n_alternatives is not None and len(self.scores) < len(self.tokens) - 1


class Sequence:
    """One choice: what it has generated, and what it may still do."""

    __slots__ = (
        "_drafter",
        "_forced",
        "_hides_last",
        "_n_told",
        "_pending",
        "_reason",
        "awaits",
        "choice",
        "computed",
        "generated",
        "matcher",
        "max_tokens",
        "n_forced",
        "n_preempted",
        "params",
        "phase",
        "prompt",
        "rng_stream",
        "slot",
        "stop",
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
        rng_stream: int = 0,
        matcher: Matcher | None = None,
    ) -> None:
        self.prompt = prompt
        self.choice = choice
        self.params = params
        self.max_tokens = max_tokens
        self.stop = stop
        self.rng_stream = rng_stream
        self.matcher = matcher
        """Which tokens may follow, where the answer is to have a form."""
        self.phase = Phase.WAITING
        self.slot = -1
        self.computed = 0
        """Positions of prompt and generated tokens that the KV cache holds."""
        self.turn = -1
        """How many sequences had their turn before it; the queue tells when it comes."""
        self.n_preempted = 0
        self.n_forced = 0
        """Tokens behind the one drawn last that its form has forced, and the KV cache does not hold yet."""
        self.awaits: tuple[Sequence, int] | None = None
        """Who computes how long a part of the prompt, while this sequence waits for it."""
        self.generated: list[int] = []
        self._forced: list[bytes] = []
        """What the form forced before each token that is taken and not told yet; only if they are scored."""
        self._drafter: Drafter | None = None
        self.text = TextStream(stop.strings, start=prompt.text_length, keep_stop=stop.keep, half=prompt.half)
        self._pending = PendingDelta(prompt.text_length)
        self._reason: FinishReason | None = None
        self._hides_last = False
        self._n_told = 0

    @property
    def drafter(self) -> Drafter:
        """What guesses its next tokens; from the first time of asking it learns from each of them."""
        if self._drafter is None:
            self._drafter = Drafter(self.prompt.index, self.generated)
        return self._drafter

    @property
    def has_ended(self) -> bool:
        """True if nothing follows the tokens that were taken, or a stop string that was told."""
        return self._reason is not None

    @property
    def sampling(self) -> SamplingParams:
        """How its next token is drawn: before its least number of tokens, none that would end it."""
        if len(self.generated) >= self.stop.min_tokens:
            return self.params
        banned = dict.fromkeys(self.stop.tokens, -inf)
        return replace(self.params, logit_bias={**self.params.logit_bias, **banned})

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

    def move_to(self, phase: Phase) -> None:
        """Enter another phase; :mod:`engine.core.phases` says which ones may follow this one.

        Raises:
            PhaseError: it cannot follow.
        """
        check_transition(self.phase, phase)
        self.phase = phase

    def preempt(self) -> None:
        """Lose the slot, and nothing else: what was generated stays, and is computed again later."""
        self.move_to(Phase.WAITING)
        self.slot, self.computed, self.awaits, self.n_forced = -1, 0, None, 0
        self.n_preempted += 1

    def take(self, token: int) -> None:
        """Take a token. If it, the form or the length ends the choice, this is finished, but for its text.

        Raises:
            GrammarError: the form cannot be followed any further.
        """
        self.generated.append(token)
        if self._drafter is not None:
            self._drafter.note(token)
        if token in self.stop.tokens and len(self.generated) > self.stop.min_tokens:
            self._reason, self._hides_last = "stop", not self.stop.keep
        elif self.matcher is not None and self._completes(self.matcher, token):
            self._reason = "stop"
        elif len(self.generated) >= self.max_tokens:
            self._reason = "length"
        else:
            return
        self.move_to(Phase.FINISHED)

    def _completes(self, matcher: Matcher, token: int) -> bool:
        if self.params.logprobs is not None:
            self._forced.append(matcher.forced_bytes())
        matcher.take(token)
        return matcher.is_done

    def take_forced(self) -> list[int]:
        """Take the tokens that the form leaves no choice about, and return them.

        Nobody draws them, so there are none where log-probabilities are wanted.
        """
        if self.matcher is None or self.params.logprobs is not None or self.phase is not Phase.DECODE:
            return []
        taken: list[int] = []
        for token in self.matcher.forced():
            self.take(token)
            taken.append(token)
            if self._reason is not None:
                break
        self.n_forced += len(taken)
        return taken

    def skip(self, piece_of: Callable[[int], bytes]) -> None:
        """Pass over a token that was taken: whoever asks has it, with its text and its log-probability."""
        self.tell(0.0, (), piece_of)
        self.text.skip()
        self._pending = PendingDelta(self.text.offset)

    def tell(
        self, logprob: float, alternatives: tuple[tuple[int, float], ...], piece_of: Callable[[int], bytes]
    ) -> Delta | None:
        """Turn the next token that was taken into text; return the delta to deliver now, or None.

        Tokens behind a stop string are nobody's.

        Args:
            logprob: Its log-probability; 0 where the sampler was not asked for it.
            alternatives: (token, logprob) of the most probable tokens, best first.
            piece_of: Returns the bytes that a token adds to the text.
        """
        if self.text.stopped:
            return None
        token = self.generated[self._n_told]
        self._n_told += 1
        is_last = self._reason is not None and self._n_told == len(self.generated)
        pending = self._pending
        pending.n_tokens += 1
        pending.logprob += logprob
        if self.params.logprobs is not None:
            forced = self._forced.pop(0).startswith(piece_of(token)) if self._forced else False
            pending.scores.append(TokenLogprob(token, self.text.offset, logprob, alternatives, forced))
        if not (is_last and self._hides_last):
            can_stop = self._n_told > self.stop.min_tokens
            pending.add_text(self.text.push(piece_of(token), may_stop=can_stop))
        if self.prompt.shows_tokens:
            pending.tokens.append((token, self.text.offset))
        if self.text.stopped:
            return self._finish("stop")
        if is_last and self._reason is not None:
            return self._finish(self._reason)
        if not (self.prompt.in_parts and pending.texts):
            return None
        if self.prompt.shows_tokens:
            return pending.release_whole_tokens(self.choice, self.text.released)
        return pending.release(self.choice, self.text.released)

    def end(self) -> Delta:
        """End a choice that generates nothing, once its prompt is computed."""
        self.move_to(Phase.FINISHED)
        return self._pending.release(self.choice, None, "length")

    def ended(self) -> Delta:
        """Return the end of a choice that has ended, and of which all is told."""
        return Delta(self.choice, "", (), 0, 0.0, self._reason)

    def fail(self, error: EngineError) -> Delta:
        """End the choice with an error."""
        self._end_here()
        return Delta(self.choice, "", (), self._pending.n_tokens, self._pending.logprob, error=error)

    def _finish(self, reason: FinishReason) -> Delta:
        """End the choice; scores of tokens behind a stop string are not reported."""
        self._reason = reason
        before = self.text.released if self.text.stopped else None
        if before is None:
            self._pending.add_text(self.text.finish())
        self._end_here()
        return self._pending.release(self.choice, before, reason)

    def _end_here(self) -> None:
        if self.phase is not Phase.FINISHED:
            self.move_to(Phase.FINISHED)
