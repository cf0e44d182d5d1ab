"""What is answered to a chat: the shapes of the answer and of its chunks, for all doors."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, SkipValidation

from engine.contract.display import Piece, ShownChoice, answer_html, choices_html, decoded_to
from engine.contract.responses import (
    EXAMPLE_USAGE,
    Answer,
    Count,
    Created,
    Id,
    Model,
    PromptTokenIds,
    Reason,
    TokenIds,
    Usage,
    UsageSoFar,
    describe_left_out,
    is_none,
)
from engine.core.delta import TokenLogprob

_Byte = Annotated[int, Field(json_schema_extra={"minimum": 0, "maximum": 255})]


def _describe_top(schema: dict[str, Any]) -> None:
    describe_left_out(schema, "token_id")


class TopToken(Answer):
    """One of the most probable tokens at some place."""

    model_config = ConfigDict(json_schema_extra=_describe_top)

    token: str = Field(
        description=r"The token's text; one that is not whole UTF-8 is written `bytes:\xe5\xa4`."
    )
    logprob: float = Field(
        description="Natural logarithm of its probability; -9999.0 for a probability of 0."
    )
    bytes: list[_Byte] = Field(description="The token's bytes; of a control token, those of its name.")
    token_id: int | None = Field(
        None, exclude_if=is_none, description="The token's id. Only with `return_token_ids`."
    )


def _describe_token(schema: dict[str, Any]) -> None:
    describe_left_out(schema, "token_id", "forced")


class ChatToken(TopToken):
    """One token of an answer."""

    model_config = ConfigDict(json_schema_extra=_describe_token)

    top_logprobs: list[TopToken] = Field(
        description="The most probable tokens at this place, best first: as many as were asked for."
    )
    forced: bool | None = Field(
        None,
        exclude_if=is_none,
        description="Whether the form of the answer left no choice about the token's text. Only where the "
        "answer has a form.",
    )


class ChatLogprobs(Answer):
    """The tokens of an answer, or of a piece of it."""

    content: list[ChatToken] = Field(description="The tokens in order, the end token included.")
    refusal: None = Field(None, description="Always null: the model's refusals are content.")
    scores: SkipValidation[tuple[TokenLogprob, ...]] = Field(exclude=True, repr=False)
    """What the tokens were written from; gRPC, which has a place for ids, writes it in its own way."""


class ChatMessage(Answer):
    """The message that answers a chat."""

    role: Literal["assistant"] = "assistant"
    content: str = Field(description="The text.")
    refusal: None = Field(None, description="Always null: the model's refusals are content.")


def _describe_choice(schema: dict[str, Any]) -> None:
    describe_left_out(schema, "token_ids")


class ChatChoice(Answer):
    """One answer to a chat."""

    model_config = ConfigDict(json_schema_extra=_describe_choice)

    index: Count = Field(description="The choice's number, from 0.")
    message: ChatMessage
    logprobs: ChatLogprobs | None = Field(None, description="The tokens, where the request asked for them.")
    finish_reason: Reason = None
    token_ids: TokenIds = None

    def _repr_html_(self) -> str:
        return choices_html([self._shown()])

    def _shown(self) -> ShownChoice:
        return ShownChoice(self.index, self.finish_reason, self.message.content, self._pieces())

    def _pieces(self) -> list[Piece]:
        tokens = self.logprobs.content if self.logprobs else []
        texts = decoded_to(self.message.content, [bytes(token.bytes) for token in tokens])
        return [
            Piece(text, token.logprob, {top.token: top.logprob for top in token.top_logprobs})
            for text, token in zip(texts or [], tokens, strict=False)
        ]


def _describe_delta(schema: dict[str, Any]) -> None:
    describe_left_out(schema, "role", "content")


class ChatDelta(Answer):
    """A piece of a message: who speaks, then text piece by piece, then nothing."""

    model_config = ConfigDict(json_schema_extra=_describe_delta)

    role: Literal["assistant"] | None = Field(
        None, exclude_if=is_none, description="On the first piece of each index."
    )
    content: str | None = Field(
        None, exclude_if=is_none, description="The next piece of the text; never half a character."
    )


class ChatChunkChoice(Answer):
    """A piece of one answer to a chat."""

    model_config = ConfigDict(json_schema_extra=_describe_choice)

    index: Count = Field(description="The choice's number, from 0.")
    delta: ChatDelta
    logprobs: ChatLogprobs | None = Field(None, description="The tokens, where the request asked for them.")
    finish_reason: Reason = None
    token_ids: TokenIds = None


_EXAMPLE_HEAD: dict[str, Any] = {"id": f"chatcmpl-{'0' * 32}", "created": 1767225600, "model": "m"}
_EXAMPLE_TOKEN = {"token": "Paris", "logprob": -0.25, "bytes": [80, 97, 114, 105, 115]}
_EXAMPLE_LOGPROBS = {"content": [_EXAMPLE_TOKEN | {"top_logprobs": [_EXAMPLE_TOKEN]}], "refusal": None}
_EXAMPLE_MESSAGE = {"role": "assistant", "content": "Paris", "refusal": None}
_EXAMPLE_CHOICE = {"index": 0, "logprobs": _EXAMPLE_LOGPROBS}

_ChatId = Annotated[Id, Field(json_schema_extra={"pattern": "^chatcmpl-[0-9a-f]{32}$"})]


def _describe_completion(schema: dict[str, Any]) -> None:
    describe_left_out(schema, "prompt_token_ids")
    choice = _EXAMPLE_CHOICE | {"message": _EXAMPLE_MESSAGE, "finish_reason": "length"}
    rest = {"object": "chat.completion", "choices": [choice], "usage": EXAMPLE_USAGE}
    schema["examples"] = [_EXAMPLE_HEAD | rest]


class ChatCompletion(Answer):
    """The answer to a chat."""

    model_config = ConfigDict(json_schema_extra=_describe_completion)

    id: _ChatId
    object: Literal["chat.completion"] = "chat.completion"
    created: Created
    model: Model
    choices: list[ChatChoice] = Field(description="The choices in the order of their index.")
    usage: Usage
    prompt_token_ids: PromptTokenIds = None

    def _repr_html_(self) -> str:
        choices = [choice._shown() for choice in self.choices]
        return answer_html(self.model, choices, self.usage.prompt_tokens, self.usage.completion_tokens)


def _describe_chunk(schema: dict[str, Any]) -> None:
    describe_left_out(schema, "prompt_token_ids")
    schema["required"].remove("usage")
    piece = _EXAMPLE_CHOICE | {"delta": {"content": "Paris"}, "finish_reason": None}
    schema["examples"] = [_EXAMPLE_HEAD | {"object": "chat.completion.chunk", "choices": [piece]}]


class ChatCompletionChunk(Answer):
    """A piece of a streamed answer to a chat: of one choice, or the usage at the end."""

    model_config = ConfigDict(json_schema_extra=_describe_chunk)

    id: _ChatId
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: Created
    model: Model
    choices: list[ChatChunkChoice] = Field(
        description="One choice, or none on the chunk that carries the usage."
    )
    usage: UsageSoFar = None
    prompt_token_ids: PromptTokenIds = None
