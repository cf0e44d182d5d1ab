"""How tokens and their logprobs are written in an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.contract.responses import Logprobs
from engine.core.sequence import TokenLogprob
from engine.core.text import TextStream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from engine.backend.base import Backend
    from engine.core.sequence import Delta, Prompt

_LEAST = -9999.0  # JSON has no infinities; the contract writes this for a probability of 0


class TokenTexts(dict[int, str]):
    """Token id to the token's own text, as a response shows it; made at the first look-up."""

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self._backend = backend

    def piece(self, token: int) -> bytes:
        """Return the bytes that the token adds to a text; none for a control token."""
        return self._backend.piece(token)

    def raw(self, token: int) -> bytes:
        """Return the token's bytes; of a control token, those of its name."""
        return self._backend.piece(token) or self._backend.special_text(token)

    def __missing__(self, token: int) -> str:
        name = self[token] = _written(self.raw(token))
        return name


class Echo:
    """A prompt that is repeated before each of its choices: its text, and its tokens' scores if wanted.

    Args:
        prompt: The prompt; its scores are complete when the first delta of a choice is there.
        text: Its text.
        token_texts: The texts of the model's tokens.
    """

    def __init__(self, prompt: Prompt, text: str, token_texts: TokenTexts) -> None:
        self._prompt = prompt
        self._text = text
        self._token_texts = token_texts
        self._scores: tuple[TokenLogprob, ...] | None = None

    def before(self, delta: Delta) -> Delta:
        """Put the prompt before a choice's first delta."""
        if self._scores is None:
            self._scores = () if self._prompt.n_alternatives is None else tuple(self._scored_tokens())
        return delta._replace(text=self._text + delta.text, scores=self._scores + delta.scores)

    def _scored_tokens(self) -> Iterator[TokenLogprob]:
        offsets = TextStream()
        first = TokenLogprob(self._prompt.tokens[0], 0, None, ())  # nothing comes before it
        for piece, score in zip(self._pieces(), (first, *self._prompt.scores), strict=True):
            yield score._replace(offset=offsets.offset)
            offsets.push(piece)

    def _pieces(self) -> list[bytes]:
        """Return what each token has of the text, in which a special token may be written or not."""
        tokens, wanted = self._prompt.tokens, self._text.encode()
        plain, named = [*map(self._token_texts.piece, tokens)], [*map(self._token_texts.raw, tokens)]
        for pieces in (plain, named, [b"", *named[1:]]):
            if b"".join(pieces) == wanted:
                return pieces
        return plain


def logprobs_of(scores: Sequence[TokenLogprob], alternatives: int, token_texts: TokenTexts) -> Logprobs:
    """Write the scores of consecutive tokens as the contract's four arrays.

    Args:
        scores: The tokens of a choice, or of a chunk of it.
        alternatives: How many alternatives were asked for; 0 leaves ``top_logprobs`` null.
        token_texts: The texts of the model's tokens.
    """
    return Logprobs(
        tokens=[token_texts[score.token] for score in scores],
        token_logprobs=[finite(score.logprob) for score in scores],
        top_logprobs=[_top(score, token_texts) for score in scores] if alternatives else None,
        text_offset=[score.offset for score in scores],
        scores=tuple(scores),
        token_bytes=[token_texts.raw(score.token) for score in scores],
    )


def top_by_id(score: TokenLogprob) -> dict[int, float]:
    """Return what ``top_logprobs`` has of a token, by ids: the best, then the token if it is none of them.

    Empty where ``top_logprobs`` is null.
    """
    top = {token: max(logprob, _LEAST) for token, logprob in score.alternatives}
    if top and score.logprob is not None:
        top.setdefault(score.token, max(score.logprob, _LEAST))
    return top


def finite(logprob: float | None) -> float | None:
    """Return the log-probability as an answer writes it: a probability of 0 is -9999.0."""
    return None if logprob is None else max(logprob, _LEAST)


def _top(score: TokenLogprob, token_texts: TokenTexts) -> dict[str, float] | None:
    """Map names to logprobs, best first; the token itself is always there, with the very value of its own."""
    if score.logprob is None:
        return None
    top = {token_texts[token]: max(logprob, _LEAST) for token, logprob in score.alternatives}
    if len(top) < len(score.alternatives):  # of two with one name, the better counts
        top.clear()
        for token, logprob in score.alternatives:
            top.setdefault(token_texts[token], max(logprob, _LEAST))
    top[token_texts[score.token]] = max(score.logprob, _LEAST)
    return top


def _written(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)
