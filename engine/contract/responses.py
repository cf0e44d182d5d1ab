"""What is answered: the shapes of the contract's answers, for all doors."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SkipValidation

from engine.contract.display import Piece, ShownChoice, answer_html, choices_html, cut
from engine.core.delta import FinishReason, TokenLogprob


class Answer(BaseModel):
    """The base of what is answered."""

    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)


def is_none(value: object) -> bool:
    """Return True for what an answer's JSON leaves out."""
    return value is None


def describe_left_out(schema: dict[str, Any], *names: str) -> None:
    """Say in a JSON schema of these fields that they are never null, but may not be there."""
    schema["required"] = [name for name in schema.get("required", ()) if name not in names]
    if not schema["required"]:
        del schema["required"]
    for name in names:
        field = schema["properties"][name]
        field.pop("default", None)
        (given,) = (form for form in field.pop("anyOf") if form != {"type": "null"})
        field.update(given)


Count = Annotated[int, Field(json_schema_extra={"minimum": 0})]
"""A number that is never negative, which is told but not checked: chunks are made by the hundred thousand."""
Id = Annotated[str, Field(description="New for each answer, one on all its chunks.")]
Created = Annotated[
    int, Field(description="When the request was admitted, in seconds since 1970-01-01 00:00 UTC.")
]
Model = Annotated[str, Field(description="Name of the model that answered.")]

Reason = Annotated[
    FinishReason | None,
    Field(
        description="`stop` at an end token or a stop string, `length` at the limit of tokens; null on every "
        "piece of a stream but the last of an index."
    ),
]


def _describe_logprobs(schema: dict[str, Any]) -> None:
    describe_left_out(schema, "top_token_ids", "forced")


class Logprobs(Answer):
    r"""Parallel arrays, an entry for each token of the choice.

    A token that is not whole UTF-8 is written ``bytes:\xe5\xa4``; a probability of 0 as -9999.0.
    """

    model_config = ConfigDict(json_schema_extra=_describe_logprobs)

    tokens: list[str] = Field(description="The tokens' texts, the end token's included.")
    token_logprobs: list[float | None] = Field(
        description="Natural logarithms of the tokens' probabilities; null where nothing comes before."
    )
    top_logprobs: list[dict[str, float] | None] | None = Field(
        description="The most probable tokens at each place, and the token itself; null for `logprobs` 0."
    )
    text_offset: list[int] = Field(
        description="Where each token begins, in characters from the start of the prompt."
    )
    top_token_ids: list[dict[str, int] | None] | None = Field(
        None,
        exclude_if=is_none,
        description="The ids of the tokens in `top_logprobs`. Only with `return_token_ids`, and not for "
        "`logprobs` 0.",
    )
    forced: list[bool] | None = Field(
        None,
        exclude_if=is_none,
        description="Whether the form of the answer left no choice about each token's text. Only where the "
        "answer has a form.",
    )
    scores: SkipValidation[tuple[TokenLogprob, ...]] = Field(exclude=True, repr=False)
    """What the arrays were written from; gRPC, which has a place for ids, writes it in its own way."""
    token_bytes: list[bytes] = Field(exclude=True)
    """For Python; the contract's JSON has no place for bytes."""

    @property
    def token_ids(self) -> list[int]:
        """The tokens' ids."""
        return [score.token for score in self.scores]


TokenIds = Annotated[
    list[int] | None,
    Field(
        exclude_if=is_none,
        description="The ids of the tokens, the end token and those of a stop string included; on a piece of "
        "a stream those that it adds. Only with `return_token_ids`.",
    ),
]
PromptTokenIds = Annotated[
    list[int] | None,
    Field(
        exclude_if=is_none,
        description="The ids of the prompt's tokens; in a stream on the first piece. Only with "
        "`return_token_ids`.",
    ),
]


def _describe_choice(schema: dict[str, Any]) -> None:
    describe_left_out(schema, "token_ids", "prompt_token_ids")


class Choice(Answer):
    """One completion of one prompt, or a piece of it in a stream."""

    model_config = ConfigDict(json_schema_extra=_describe_choice)

    text: str = Field(description="The text, or the next piece of it; never half a character.")
    index: Count = Field(description="The prompt's position times `n` plus the choice's number, from 0.")
    logprobs: Logprobs | None = Field(None, description="The tokens, where the request asked for them.")
    finish_reason: Reason = None
    token_ids: TokenIds = None
    prompt_token_ids: PromptTokenIds = None

    def _repr_html_(self) -> str:
        return choices_html([self._shown()])

    def _shown(self) -> ShownChoice:
        return ShownChoice(self.index, self.finish_reason, self.text, self._pieces())

    def _pieces(self) -> list[Piece]:
        logprobs = self.logprobs
        if logprobs is None:
            return []
        texts = cut(self.text, logprobs.text_offset)
        tops = logprobs.top_logprobs or [None] * len(texts)
        return [*map(Piece, texts, logprobs.token_logprobs, tops)]


class PromptTokensDetails(Answer):
    """Where the prompt's tokens came from."""

    cached_tokens: Count = Field(0, description="Tokens that were in the cache and cost nothing.")


class CompletionTokensDetails(Answer):
    """How many tokens were guessed from the text before, and computed together with others."""

    accepted_prediction_tokens: Count = Field(0, description="Guesses that were right: generated tokens.")
    rejected_prediction_tokens: Count = Field(0, description="Guesses that were wrong, and are no tokens.")


class Usage(Answer):
    """Tokens of a whole request; each prompt counts once, whatever ``n`` is."""

    prompt_tokens: Count
    completion_tokens: Count = Field(description="Tokens generated, over all candidates.")
    total_tokens: Count
    prompt_tokens_details: PromptTokensDetails = PromptTokensDetails()
    completion_tokens_details: CompletionTokensDetails = CompletionTokensDetails()


UsageSoFar = Annotated[
    Usage | None,
    Field(
        description="Only with `include_usage`: null, and the request's usage on the last chunk; on every "
        "chunk the usage so far with `continuous_usage_stats`."
    ),
]

_EXAMPLE_HEAD: dict[str, Any] = {
    "id": f"cmpl-{'0' * 32}",
    "object": "text_completion",
    "created": 1767225600,
    "model": "m",
}
_EXAMPLE_LOGPROBS = {
    "tokens": [" Paris"],
    "token_logprobs": [-0.25],
    "top_logprobs": [{" Paris": -0.25}],
    "text_offset": [24],
}
_EXAMPLE_CHOICE = {"text": " Paris", "index": 0, "logprobs": _EXAMPLE_LOGPROBS, "finish_reason": "length"}
EXAMPLE_USAGE: dict[str, Any] = {
    "prompt_tokens": 5,
    "completion_tokens": 1,
    "total_tokens": 6,
    "prompt_tokens_details": {"cached_tokens": 0},
    "completion_tokens_details": {"accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
}


class _Head(Answer):
    id: Annotated[Id, Field(json_schema_extra={"pattern": "^cmpl-[0-9a-f]{32}$"})]
    object: Literal["text_completion"] = "text_completion"
    created: Created
    model: Model


class Completion(_Head):
    """The answer to a request."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [_EXAMPLE_HEAD | {"choices": [_EXAMPLE_CHOICE], "usage": EXAMPLE_USAGE}]
        }
    )

    choices: list[Choice] = Field(description="The choices in the order of their index.")
    usage: Usage

    def _repr_html_(self) -> str:
        choices = [choice._shown() for choice in self.choices]
        return answer_html(self.model, choices, self.usage.prompt_tokens, self.usage.completion_tokens)


def _describe_chunk(schema: dict[str, Any]) -> None:
    schema["required"].remove("usage")
    schema["examples"] = [_EXAMPLE_HEAD | {"choices": [_EXAMPLE_CHOICE]}]


class CompletionChunk(_Head):
    """A piece of a streamed answer: of one choice, or the usage at the end."""

    model_config = ConfigDict(json_schema_extra=_describe_chunk)

    choices: list[Choice] = Field(description="One choice, or none on the chunk that carries the usage.")
    usage: UsageSoFar = None


class ModelCard(Answer):
    """One model that the server serves."""

    id: str = Field(description="The name to ask for it by.")
    object: Literal["model"] = "model"
    created: int = Field(description="When the server started to serve it, in seconds since 1970.")
    owned_by: str = "nucleus"
    max_model_len: int = Field(description="Most tokens of a prompt and its completion together.")
    n_vocab: int = Field(description="Tokens that the model tells apart; ids run from 0 to one less.")


class ModelList(Answer):
    """The models that the server serves."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class ServerStatus(Answer):
    """That the server is well; when it is not, the answer is an error."""

    status: Literal["ok", "ready"]


class Tokenized(Answer):
    """The tokens of a text."""

    tokens: list[int] = Field(description="Token ids.")
    count: Count = Field(description="How many there are.")
    max_model_len: int = Field(description="Most tokens of a prompt and its completion together.")


class Detokenized(Answer):
    """The text of tokens, control tokens by their names; what is not UTF-8 is replaced by U+FFFD."""

    prompt: str


class TokenizerInfo(Answer):
    """The names of special tokens, and the chat template; null where the model has none."""

    bos_token: str | None = Field(description="The token that a text begins with.")
    eos_token: str | None = Field(description="The token that ends a text.")
    pad_token: str | None = Field(description="The token that fills up.")
    chat_template: str | None = Field(description="The template (Jinja) that makes a prompt of a chat.")


class ErrorDetail(Answer):
    """What went wrong."""

    message: str = Field(description="One sentence, with the limit and the value.")
    type: Literal["invalid_request_error", "rate_limit_error", "server_error"]
    param: str | None = Field(description="The field at fault, or null.")
    code: str = Field(description="What a program reads: the same through every door.")


class ErrorAnswer(Answer):
    """The form of every error."""

    error: ErrorDetail
