"""The fields that every request for an answer has, whichever the shape of the answer is."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple, Self

from pydantic import AliasChoices, BeforeValidator, Field, model_validator
from typing_extensions import TypeAliasType

from engine.contract.conversation import Chat
from engine.contract.forms import FormFields
from engine.contract.messages import contract_error
from engine.contract.validators import CHECK_TEXT, StrictModel, Text, check_key, one_or_many

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.contract.limits import Limits
    from engine.contract.unsupported import UnsupportedFields

MAX_CHOICES = 128
"""Most choices of one prompt."""
MAX_STOPS = 4
"""Most stop strings of one request."""
MAX_STOP = 1024
"""Most characters of a stop string."""
MAX_STOP_TOKENS = 128
"""Most ids of tokens that end a choice."""

Stop = Annotated[str, Field(min_length=1, max_length=MAX_STOP), CHECK_TEXT]
TokenId = TypeAliasType(
    "TokenId", Annotated[int, Field(description="A token of the model.", json_schema_extra={"minimum": 0})]
)
"""Its upper limit is the model's, so :func:`engine.service.tokenizer.check_ids` has it."""

_StopForms = Stop | Annotated[list[Stop], Field(max_length=MAX_STOPS)]
_Stops = Annotated[list[Stop], BeforeValidator(one_or_many, json_schema_input_type=_StopForms)]


class StreamOptions(StrictModel):
    """What a stream tells besides text."""

    include_usage: bool = Field(
        False, description="End the stream with a chunk that has no choices and carries the usage."
    )
    continuous_usage_stats: bool = Field(
        False, description="With `include_usage`: the usage so far on every chunk."
    )


class Gap(NamedTuple):
    """A gap between two texts, which the answer is to fill."""

    before: str | list[int]
    behind: str


GivenPrompt = str | list[int] | Chat | Gap
"""A prompt as a request gives it."""


class Wanted(NamedTuple):
    """How many tokens a request wants room for, and the field that says so."""

    field: str
    tokens: int


class GenerationRequest(FormFields):
    """What is asked of the model: the same fields for both shapes of an answer."""

    unsupported: ClassVar[UnsupportedFields]
    """The fields of other servers that this request refuses."""

    model: Text = Field(
        min_length=1, description="Name of the model that is to answer; 404 when the server serves another."
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
    stream: bool = Field(False, description="Send the answer as server-sent events.")
    stream_options: StreamOptions | None = Field(
        None, description="What a stream tells besides text; only with `stream`."
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
    stop_token_ids: list[TokenId] = Field(
        [], max_length=MAX_STOP_TOKENS, description="Tokens that end a choice, besides the model's own."
    )
    include_stop_str_in_output: bool = Field(
        False, description="Leave the stop string or token that ended a choice in its text."
    )

    return_token_ids: bool = Field(
        False,
        description="Return the ids of the tokens too: `token_ids` of each choice or piece, and "
        "`prompt_token_ids`.",
    )
    resume_token_ids: list[TokenId] = Field(
        [],
        description="The first tokens of this very answer, which the client has: it goes on behind them as "
        "if it had never stopped, and only what follows is sent. For one choice of one prompt.",
        examples=[[9, 4]],
    )

    @model_validator(mode="after")
    def _check_stream_options(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise contract_error("stream_options: is only allowed together with 'stream': true")
        return self

    @model_validator(mode="after")
    def _check_resumption(self) -> Self:
        if self.resume_token_ids and self.n > 1:
            raise contract_error(f"n: should be 1 together with 'resume_token_ids', not {self.n}")
        return self

    @property
    @abstractmethod
    def prompts(self) -> Sequence[GivenPrompt]:
        """The prompts one by one, whichever form they came in."""

    @property
    @abstractmethod
    def wanted(self) -> Wanted:
        """The tokens for which the context must have room behind each prompt."""

    @abstractmethod
    def check(self, limits: Limits) -> None:
        """Refuse what is more than a server allows.

        Raises:
            InvalidRequestError: naming the field, the limit and the value.
        """
