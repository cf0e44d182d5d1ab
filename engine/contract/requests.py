"""The completions contract: every field with its range, default and cap, once, for all doors.

A door turns its wire into a mapping of plain Python values and calls
:func:`engine.contract.parsing.parse_request`, which returns one of these requests; nothing else validates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import AliasChoices, BeforeValidator, ConfigDict, Field, model_validator
from typing_extensions import TypeAliasType

from engine.contract.forms import FormFields
from engine.contract.kwargs import PromptInput
from engine.contract.messages import contract_error, refuse
from engine.contract.schema_rules import describe_rules
from engine.contract.validators import (
    StrictModel,
    check_key,
    check_no_nul,
    check_prompt,
    check_text,
    join_text_parts,
    one_or_many,
)

MAX_CHOICES = 128
"""Most choices of one prompt."""
MAX_STOPS = 4
"""Most stop strings of one request."""
MAX_STOP = 1024
"""Most characters of a stop string."""
MAX_STOP_TOKENS = 128
"""Most ids of tokens that end a choice."""
MAX_BEST_OF = 20
"""Most candidates of one prompt of which the best are returned."""
MAX_TEXT = 1 << 22
"""Most characters of a string in a request."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server allows, beyond the ranges of the contract."""

    max_logprobs: int = 5
    max_prompts: int = 256
    max_sequences: int = 1024
    """Most choices of one request, over all its prompts."""

    def check(self, request: CompletionRequest) -> None:
        """Refuse a request that asks for more than this server allows.

        Raises:
            InvalidRequestError: naming the field, the limit and the value.
        """
        if request.logprobs is not None and request.logprobs > self.max_logprobs:
            refuse("logprobs", f"should be at most {self.max_logprobs}", request.logprobs)
        n_prompts = len(request.prompts)
        if n_prompts > self.max_prompts:
            refuse("prompt", f"should hold at most {self.max_prompts} prompts", n_prompts)
        if n_prompts * request.candidates > self.max_sequences:
            limit = f"times the number of prompts ({n_prompts}) should be at most {self.max_sequences}"
            refuse("n" if request.candidates == request.n else "best_of", limit, request.candidates)


# What pydantic cannot see in a validator of ours goes into the JSON schema by hand, beside that validator.
# MAX_TEXT does not: over HTTP a body is too large before one of its texts is too long.
_CHECK_TEXT = BeforeValidator(partial(check_text, max_length=MAX_TEXT))
Text = Annotated[str, _CHECK_TEXT]
ChatText = Annotated[Text, BeforeValidator(check_no_nul), Field(json_schema_extra={"pattern": r"^[^\x00]*$"})]
Stop = Annotated[str, Field(min_length=1, max_length=MAX_STOP), _CHECK_TEXT]
TokenId = TypeAliasType(
    "TokenId", Annotated[int, Field(description="A token of the model.", json_schema_extra={"minimum": 0})]
)
"""Its upper limit is the model's, so :func:`engine.service.tokenizer.check_ids` has it."""

_PromptForms = (
    Text
    | Annotated[list[Text], Field(min_length=1)]
    | Annotated[list[TokenId], Field(min_length=1)]
    | Annotated[list[Annotated[list[TokenId], Field(min_length=1)]], Field(min_length=1)]
)
_StopForms = Stop | Annotated[list[Stop], Field(max_length=MAX_STOPS)]
_Prompt = Annotated[
    PromptInput, _CHECK_TEXT, BeforeValidator(check_prompt, json_schema_input_type=_PromptForms)
]
_Stops = Annotated[list[Stop], BeforeValidator(one_or_many, json_schema_input_type=_StopForms)]


class TextPart(StrictModel):
    """A part of a message that has several."""

    type: Literal["text"] = Field(description="Other types are refused.")
    text: ChatText = Field(description="The text.")


_ContentForms = ChatText | Annotated[list[TextPart], Field(min_length=1)]


class Message(StrictModel):
    """One message of a chat."""

    role: Annotated[ChatText, Field(min_length=1)] = Field(
        description="Who speaks, as the model's chat template has it.", examples=["user"]
    )
    content: Annotated[ChatText, BeforeValidator(join_text_parts, json_schema_input_type=_ContentForms)] = (
        Field(
            description="What is said: a text, or parts of text, which are joined by line breaks.",
            examples=["What is the capital of France?", [{"type": "text", "text": "Hi"}]],
        )
    )


class Chat(NamedTuple):
    """A prompt that the model's chat template has to make."""

    messages: list[Message]


class StreamOptions(StrictModel):
    """What a stream tells besides text."""

    include_usage: bool = Field(
        False, description="End the stream with a chunk that has no choices and carries the usage."
    )
    continuous_usage_stats: bool = Field(
        False, description="With `include_usage`: the usage so far on every chunk."
    )


class CompletionRequest(FormFields):
    """One request, valid on its own; :meth:`Limits.check` compares it with one server's limits."""

    model_config = ConfigDict(json_schema_extra=describe_rules)

    model: Text = Field(
        min_length=1, description="Name of the model that is to answer; 404 when the server serves another."
    )
    prompt: _Prompt | None = Field(
        None,
        description="What to continue: a text, texts, the token ids of one prompt, or those of several. "
        "Special tokens are added to text as the model asks, never to ids. Exactly one of `prompt` and "
        "`messages` is required.",
        examples=[
            "The capital of France is",
            ["The capital of France is", "天气非常好"],
            [9, 4, 27],
            [[9, 4], [27]],
        ],
    )
    messages: list[Message] | None = Field(
        None,
        min_length=1,
        description="A chat, of which the model's own chat template makes the prompt; 400 when it has none.",
        examples=[[{"role": "user", "content": "What is the capital of France?"}]],
    )
    max_tokens: int = Field(
        16,
        ge=0,
        le=1 << 31,
        description="Most tokens to generate for a choice; 0 only with `echo`. Prompt and completion "
        "together must fit the model's context.",
    )
    temperature: float = Field(
        1.0,
        ge=0,
        le=2,
        description="Above 1 flattens the distribution, below 1 sharpens it; 0 always takes the most "
        "probable token.",
    )
    top_p: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Draw from the smallest set of most probable tokens whose mass reaches this; 1 is off.",
    )
    n: int = Field(
        1,
        ge=1,
        le=MAX_CHOICES,
        description="Choices for each prompt. The server also limits the product with the number of prompts.",
    )
    best_of: int | None = Field(
        None,
        ge=1,
        le=MAX_BEST_OF,
        description="Candidates for each prompt, of which the `n` with the highest mean log probability per "
        "token are returned. At least `n`, which is the default; no more than `n` with `stream`.",
    )
    stream: bool = Field(False, description="Send the answer as server-sent events.")
    stream_options: StreamOptions | None = Field(
        None, description="What a stream tells besides text; only with `stream`."
    )
    logprobs: int | None = Field(
        None,
        ge=0,
        description="Report each token's log probability, and so many most probable tokens beside it; null: "
        "none of it. The server sets the limit.",
        examples=[1],
    )
    presence_penalty: float = Field(
        0.0, ge=-2, le=2, description="Subtracted from the logit of each token generated before."
    )
    frequency_penalty: float = Field(
        0.0,
        ge=-2,
        le=2,
        description="Subtracted from a token's logit once for each time it was generated before.",
    )
    logit_bias: dict[
        Annotated[int, Field(strict=False), BeforeValidator(check_key)],
        Annotated[float, Field(ge=-100, le=100)],
    ] = Field(
        {},
        description="Token id to what is added to its logit; -100 bans the token, 100 all but forces it.",
        examples=[{"7": -100, "12": 1.5}],
        json_schema_extra={"propertyNames": {"pattern": "^(0|[1-9][0-9]*)$"}},
    )
    stop: _Stops = Field(
        [],
        max_length=MAX_STOPS,
        description="A string, or several, that end a choice and are not part of its text. They are found "
        "across the borders of tokens; of several the earliest counts.",
        examples=["\n", ["\n\n", "END"]],
    )
    seed: int | None = Field(
        None,
        ge=-(1 << 63),
        le=(1 << 63) - 1,
        description="Repeat the draws: the same seed, request and build give the same tokens. Choices differ "
        "from each other either way.",
        examples=[1],
    )
    user: Text | None = Field(
        None,
        description="The end user's id: logged; users take turns when the engine is busy.",
        examples=["user-1"],
    )
    top_k: int = Field(
        0,
        ge=-1,
        le=1 << 31,
        description="Draw from so many most probable tokens only; 0 and -1 are off.",
    )
    min_p: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Draw from tokens of at least this part of the best one's probability; 0 is off.",
    )
    repetition_penalty: float = Field(
        1.0,
        gt=0,
        le=100,
        validation_alias=AliasChoices("repetition_penalty", "repeat_penalty"),
        description="Divides the positive and multiplies the negative logits of tokens in prompt and answer; "
        "1 is off.",
    )
    min_tokens: int = Field(
        0,
        ge=0,
        le=1 << 31,
        description="Tokens to generate before an end token or a stop may end a choice; at most "
        "`max_tokens`.",
    )
    ignore_eos: bool = Field(False, description="Go on after the model's end token.")
    echo: bool = Field(
        False, description="Put the prompt before the answer, its tokens too where `logprobs` is set."
    )
    suffix: Text = Field(
        "",
        description="Text behind the gap that the answer is to fill. Only for models with fill-in-the-middle "
        "tokens, otherwise 400; empty: none.",
    )
    stop_token_ids: list[TokenId] = Field(
        [], max_length=MAX_STOP_TOKENS, description="Tokens that end a choice, besides the model's own."
    )
    include_stop_str_in_output: bool = Field(
        False, description="Leave the stop string or token that ended a choice in its text."
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            given = "neither" if self.prompt is None else "both"
            raise contract_error(f"prompt: exactly one of 'prompt' and 'messages' is required, {given} given")
        if self.stream_options is not None and not self.stream:
            raise contract_error("stream_options: is only allowed together with 'stream': true")
        if self.max_tokens == 0 and not self.echo:
            raise contract_error("max_tokens: should be at least 1, unless 'echo' is true, not 0")
        if self.min_tokens > self.max_tokens:
            raise contract_error(
                f"min_tokens: should be at most 'max_tokens' ({self.max_tokens}), not {self.min_tokens}"
            )
        if self.candidates < self.n:
            raise contract_error(f"best_of: should be at least 'n' ({self.n}), not {self.best_of}")
        if self.stream and self.candidates > self.n:
            raise contract_error(f"best_of: should be 'n' ({self.n}) in a stream, not {self.best_of}")
        if self.suffix and self.prompt is None:
            raise contract_error("suffix: is only allowed together with 'prompt', not with 'messages'")
        if self.suffix and self.echo:
            raise contract_error("suffix: is not allowed together with 'echo': true")
        return self

    @property
    def candidates(self) -> int:
        """How many choices are generated for each prompt; the best ``n`` are returned."""
        return self.n if self.best_of is None else self.best_of

    @property
    def prompts(self) -> list[str | list[int] | Chat]:
        """The prompts one by one, whichever form they came in."""
        if self.messages is not None:
            return [Chat(self.messages)]
        prompt = self.prompt or ""
        if isinstance(prompt, str):
            return [prompt]
        ids = [token for token in prompt if isinstance(token, int)]
        return [ids] if ids else [item for item in prompt if not isinstance(item, int)]


class TokenizeRequest(StrictModel):
    """A text whose tokens are asked for."""

    prompt: Text = Field(description="The text.", examples=["The capital of France is"])
    add_special_tokens: bool = Field(True, description="Add the tokens that a prompt begins or ends with.")
    model: Text | None = Field(
        None, description="Name of the model; 404 when the server serves another. Null: whichever it serves."
    )


class DetokenizeRequest(StrictModel):
    """Tokens whose text is asked for."""

    tokens: list[TokenId] = Field(description="Token ids.", examples=[[9, 4, 27]])
    model: Text | None = Field(
        None, description="Name of the model; 404 when the server serves another. Null: whichever it serves."
    )
