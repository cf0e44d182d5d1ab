"""How tokens and their logprobs are written in an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.contract.chat_responses import ChatLogprobs, ChatToken, TopToken
from engine.contract.responses import Logprobs
from engine.core.delta import TokenLogprob
from engine.core.text import TextStream
from engine.service.alignment import align

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from engine.core.delta import Delta
    from engine.core.sequence import Prompt
    from engine.service.token_texts import TokenTexts

_LEAST = -9999.0  # JSON has no infinities; the contract writes this for a probability of 0


class Echo:
    """A prompt that is repeated before each of its choices: its text, and its tokens' scores if wanted.

    Args:
        prompt: The prompt; its scores are complete when the first delta of a choice is there.
        text: Its text.
        pieces: The bytes that each of its tokens has of the text.
    """

    def __init__(self, prompt: Prompt, text: str, pieces: list[bytes]) -> None:
        self._prompt = prompt
        self._text = text
        self._pieces = pieces
        self._scores: tuple[TokenLogprob, ...] | None = None

    def before(self, delta: Delta) -> Delta:
        """Put the prompt before a choice's first delta."""
        if self._scores is None:
            self._scores = () if self._prompt.n_alternatives is None else tuple(self._scored_tokens())
        return delta._replace(text=self._text + delta.text, scores=self._scores + delta.scores)

    def _scored_tokens(self) -> Iterator[TokenLogprob]:
        first = TokenLogprob(self._prompt.tokens[0], 0, None, ())  # nothing comes before it
        for offset, score in zip(self._offsets(), (first, *self._prompt.scores), strict=True):
            yield score._replace(offset=offset)

    def _offsets(self) -> Iterator[int]:
        """Yield where each token begins, in characters; a token inside one begins where that one does."""
        raw, read, end = self._text.encode(), TextStream(), 0
        for span in align(raw, self._pieces):
            read.push(raw[end : span.start])
            yield read.offset
            read.push(raw[span.start : span.end])
            end = span.end


def logprobs_of(
    scores: Sequence[TokenLogprob],
    alternatives: int,
    token_texts: TokenTexts,
    *,
    with_ids: bool = False,
    has_form: bool = False,
) -> Logprobs:
    """Write the scores of consecutive tokens as the contract's parallel arrays.

    Args:
        scores: The tokens of a choice, or of a chunk of it.
        alternatives: How many alternatives were asked for; 0 leaves ``top_logprobs`` null.
        token_texts: The texts of the model's tokens.
        with_ids: Whether the tokens' ids are told, too.
        has_form: Whether the answer has a form, which may force tokens.
    """
    return Logprobs(
        tokens=[token_texts[score.token] for score in scores],
        token_logprobs=[None if score.logprob is None else finite(score.logprob) for score in scores],
        top_logprobs=[_top(score, token_texts) for score in scores] if alternatives else None,
        text_offset=[score.offset for score in scores],
        top_token_ids=[_top_ids(score, token_texts) for score in scores]
        if with_ids and alternatives
        else None,
        forced=[score.is_forced for score in scores] if has_form else None,
        scores=tuple(scores),
        token_bytes=[token_texts.raw(score.token) for score in scores],
    )


def chat_logprobs_of(
    scores: Sequence[TokenLogprob],
    token_texts: TokenTexts,
    *,
    with_ids: bool = False,
    has_form: bool = False,
) -> ChatLogprobs:
    """Write the scores of consecutive tokens as the chat shape has them: an object for each.

    Args:
        scores: The tokens of a choice, or of a chunk of it; a prompt comes before them.
        token_texts: The texts of the model's tokens.
        with_ids: Whether the tokens' ids are told, too.
        has_form: Whether the answer has a form, which may force tokens.
    """
    return ChatLogprobs(
        content=[
            ChatToken(
                token=token_texts[score.token],
                logprob=finite(score.logprob or 0.0),
                bytes=[*token_texts.raw(score.token)],
                top_logprobs=[
                    TopToken(
                        token=token_texts[token],
                        logprob=finite(logprob),
                        bytes=[*token_texts.raw(token)],
                        token_id=token if with_ids else None,
                    )
                    for token, logprob in score.alternatives
                ],
                token_id=score.token if with_ids else None,
                forced=score.is_forced if has_form else None,
            )
            for score in scores
        ],
        scores=tuple(scores),
    )


def alternatives_by_id(score: TokenLogprob) -> dict[int, float]:
    """Return the most probable tokens at the place of a token, by ids."""
    return {token: finite(logprob) for token, logprob in score.alternatives}


def top_by_id(score: TokenLogprob) -> dict[int, float]:
    """Return what ``top_logprobs`` has of a token, by ids: the best, then the token if it is none of them.

    Empty where ``top_logprobs`` is null.
    """
    top = alternatives_by_id(score)
    if top and score.logprob is not None:
        top.setdefault(score.token, finite(score.logprob))
    return top


def finite(logprob: float) -> float:
    """Return a log-probability as an answer writes it: that of a probability of 0 is -9999.0."""
    return max(logprob, _LEAST)


def _top(score: TokenLogprob, token_texts: TokenTexts) -> dict[str, float] | None:
    """Map names to logprobs, best first; the token itself is always there, with the very value of its own."""
    if score.logprob is None:
        return None
    top = {token_texts[token]: finite(logprob) for token, logprob in score.alternatives}
    if len(top) < len(score.alternatives):  # of two with one name, the better counts
        top.clear()
        for token, logprob in score.alternatives:
            top.setdefault(token_texts[token], finite(logprob))
    top[token_texts[score.token]] = finite(score.logprob)
    return top


def _top_ids(score: TokenLogprob, token_texts: TokenTexts) -> dict[str, int] | None:
    """Map the names that ``top_logprobs`` has to ids, in the same order: of two tokens with one name, too."""
    if score.logprob is None:
        return None
    ids: dict[str, int] = {}
    for token, _ in score.alternatives:
        ids.setdefault(token_texts[token], token)
    ids[token_texts[score.token]] = score.token
    return ids
