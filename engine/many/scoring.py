"""How probable texts are to a model: log-probabilities of their tokens, and perplexity."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, cast

from pydantic import Field, SkipValidation, computed_field

from engine.contract.display import decoded, score_html
from engine.contract.messages import abbreviate, refuse
from engine.contract.responses import Answer
from engine.errors import InvalidRequestError, UnavailableError
from engine.many.batch import Batch, with_room

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.contract.responses import Logprobs
    from engine.many.batch import Advance
    from engine.service.service import CompletionService


class Score(Answer):
    """How probable a text is: the log-probability of each of its tokens, given those before it.

    Logarithms are natural. A token before which nothing comes has none (None), and does not count: the first
    one of the text, or the one that the model begins every text with. A probability of 0 is -9999.0.
    """

    text: str = Field(description="The text.")
    tokens: list[str] = Field(description="The tokens' texts, with those that the model adds.")
    token_ids: list[int] = Field(description="The tokens' ids.")
    token_logprobs: list[float | None] = Field(
        description="Natural logarithms of the tokens' probabilities; null where nothing comes before."
    )
    token_bytes: SkipValidation[list[bytes]] = Field(exclude=True, repr=False)
    """For Python; JSON has no place for bytes."""

    @computed_field(description="Tokens that have a log-probability.")  # type: ignore[prop-decorator]
    @property
    def count(self) -> int:
        """Tokens that have a log-probability."""
        return len(self._counted)

    @computed_field(description="The sum of the log-probabilities: that of the text.")  # type: ignore[prop-decorator]
    @property
    def sum(self) -> float:
        """The sum of the log-probabilities, which is the log-probability of the text."""
        return math.fsum(self._counted)

    @computed_field(description="Their mean; null if there are none.")  # type: ignore[prop-decorator]
    @property
    def mean(self) -> float:
        """The mean of the log-probabilities; NaN if there are none."""
        return self.sum / self.count if self.count else math.nan

    @computed_field(description="exp(-mean); null if there is no mean.")  # type: ignore[prop-decorator]
    @property
    def perplexity(self) -> float:
        """``exp(-mean)``: the number of equally probable tokens that would be as hard to guess; or NaN."""
        try:
            return math.exp(-self.mean)
        except OverflowError:
            return math.inf

    @property
    def _counted(self) -> list[float]:
        return [logprob for logprob in self.token_logprobs if logprob is not None]

    def _repr_html_(self) -> str:
        title = f"perplexity {self.perplexity:,.2f} · mean {self.mean:.3f} · {self.count:,} tokens"
        return score_html(title, decoded(self.token_bytes), self.token_logprobs)


class _Window(NamedTuple):
    """Tokens that the model sees together, of which the last ones are scored."""

    tokens: list[int]
    n_new: int


class Scoring:
    """How each of many texts is scored.

    Args:
        service: What scores them.
        window: Most tokens that the model sees at once; by default its whole context.
        stride: By how many tokens the window moves on; by default half of it.

    Raises:
        InvalidRequestError: the window does not fit the context, or the stride does not fit the window.
    """

    def __init__(self, service: CompletionService, window: int | None, stride: int | None) -> None:
        service.check_open()
        self._service = service
        most = service.max_model_len
        self._window = _checked("window", window, most, low=2, high=most)
        limit = self._window - 1
        self._stride = _checked("stride", stride, max(self._window // 2, 1), low=1, high=limit)
        self._caller = object()  # it takes turns with whoever else asks

    def batch(self) -> Batch[str | list[int], Score]:
        """Return a new batch of texts."""
        engine = self._service.engine
        return Batch(self._score, at_once=min(engine.backend.n_slots, engine.max_requests), ahead=math.inf)

    async def _score(self, index: int, text: str | list[int], advance: Advance) -> Score:
        try:
            return await self._score_tokens(text, advance)
        except UnavailableError:
            raise
        except InvalidRequestError as error:
            raise type(error)(f"texts[{index}]: {error.message}", param="texts", hint=error.hint) from None

    async def _score_tokens(self, text: str | list[int], advance: Advance) -> Score:
        if not isinstance(text, str | list):
            raise InvalidRequestError(f"should be a text or a list of token ids, not {abbreviate(text)}.")
        tokens = await self._tokens(text)
        if not tokens:
            advance(1, 0)
            return Score(text="", tokens=[], token_ids=[], token_logprobs=[], token_bytes=[])
        windows = [*self._windows(tokens)]
        parts = []
        for window in windows:
            parts.append((await self._logprobs(window.tokens), window.n_new))
            advance(1 / len(windows), window.n_new)
        whole = text if isinstance(text, str) else self._service.detokenize({"tokens": text}).prompt
        return _joined(whole, parts)

    async def _tokens(self, text: str | list[int]) -> list[int]:
        if isinstance(text, list):
            return text
        return (await self._service.tokenize({"prompt": text})).tokens

    def _windows(self, tokens: list[int]) -> Iterator[_Window]:
        """Yield windows that have each token once among those to score."""
        info = self._service.engine.backend.info
        head = tokens[:1] if len(tokens) > self._window and tokens[0] == info.bos_token else []
        begin, scored = len(head), 0
        while scored < len(tokens):
            end = min(begin + self._window - len(head), len(tokens))
            yield _Window(head + tokens[begin:end], end - scored)
            begin, scored = begin + self._stride, end

    async def _logprobs(self, tokens: list[int]) -> Logprobs:
        request = self._service.parse(
            {
                "model": self._service.name,
                "prompt": tokens,
                "max_tokens": 0,
                "echo": True,
                "logprobs": 0,
            }
        )
        answer = await with_room(lambda: self._service.complete(request, self._caller))
        return cast("Logprobs", answer.choices[0].logprobs)  # it was asked for


def _joined(text: str, parts: list[tuple[Logprobs, int]]) -> Score:
    """Put together what was scored of each window."""
    return Score(
        text=text,
        tokens=[token for part, n_new in parts for token in part.tokens[-n_new:]],
        token_ids=[token for part, n_new in parts for token in part.token_ids[-n_new:]],
        token_logprobs=[logprob for part, n_new in parts for logprob in part.token_logprobs[-n_new:]],
        token_bytes=[raw for part, n_new in parts for raw in part.token_bytes[-n_new:]],
    )


def _checked(name: str, value: int | None, default: int, *, low: int, high: int) -> int:
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        refuse(name, f"should be an integer from {low} to {high}", value)
    return value
