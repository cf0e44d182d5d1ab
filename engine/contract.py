"""The completions contract: every field with its range, default and cap, once, for all doors.

A door turns its wire into a mapping of plain Python values and calls :func:`parse_request`; nothing else in
the package validates a request. Answers are built from the models in the second half.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, NoReturn, Self, TypedDict, TypeVar

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from engine.errors import InvalidRequestError

log = logging.getLogger("nucleus.contract")

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

PromptInput = str | list[str] | list[int] | list[list[int]]
FinishReason = Literal["stop", "length"]


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
            _refuse("logprobs", f"should be at most {self.max_logprobs}", request.logprobs)
        n_prompts = len(request.prompts)
        if n_prompts > self.max_prompts:
            _refuse("prompt", f"should hold at most {self.max_prompts} prompts", n_prompts)
        if n_prompts * request.candidates > self.max_sequences:
            limit = f"times the number of prompts ({n_prompts}) should be at most {self.max_sequences}"
            _refuse("n" if request.candidates == request.n else "best_of", limit, request.candidates)


def _without_nulls(value: Any) -> Any:
    """An explicit null means the default, everywhere."""
    if isinstance(value, Mapping):
        return {name: item for name, item in value.items() if item is not None}
    return value


def _check_prompt(value: Any) -> Any:
    """Tell the four forms of a prompt apart before pydantic does, for one clear message instead of four."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list | tuple):
        raise _wrong("should be a string, a list of strings, a list of token ids, or a list of such lists")
    if not value:
        raise _wrong("should not be an empty list")
    if all(isinstance(item, str) for item in value) or _is_ids(value):
        return list(value)
    for position, item in enumerate(value):
        if not isinstance(item, list | tuple) or not _is_ids(item):
            raise _wrong(f"item {position} fits none of: all strings, all token ids, all lists of token ids")
        if not item:
            raise _wrong(f"item {position} should not be an empty list")
    return [list(item) for item in value]


def _is_ids(value: Any) -> bool:
    return all(type(item) is int for item in value)


def _check_text(value: Any) -> Any:
    """A string that UTF-8 cannot carry (a lone surrogate) would fail much later and much less clearly."""
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise _wrong(
                    f"should be valid Unicode; character {error.start} is a lone surrogate"
                ) from None
            if len(text) > MAX_TEXT:
                raise _wrong(f"should have at most {MAX_TEXT} characters, not {len(text)}")
    return value


def _check_no_nul(value: Any) -> Any:
    """The chat template takes C strings, and would silently end a text there."""
    if isinstance(value, str) and "\0" in value:
        raise _wrong(f"should not contain the character NUL, as it does at {value.index(chr(0))}")
    return value


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _check_key(value: Any) -> Any:
    """JSON's keys are strings; of those that pydantic reads as an integer (" 1_0.0"), few are token ids."""
    if isinstance(value, str) and not _TOKEN_KEY.fullmatch(value):
        raise _wrong(f"should have token ids as keys, not {shown(value)}")
    return value


def _wrong(problem: str) -> PydanticCustomError:
    return PydanticCustomError("contract", "{problem}", {"problem": problem})


_TOKEN_KEY = re.compile("0|-?[1-9][0-9]{0,18}")

Text = Annotated[str, BeforeValidator(_check_text)]
ChatText = Annotated[str, BeforeValidator(_check_text), BeforeValidator(_check_no_nul)]
Stop = Annotated[str, Field(min_length=1, max_length=MAX_STOP), BeforeValidator(_check_text)]


R = TypeVar("R", bound="_Strict")


class _Strict(BaseModel):
    """Lax mode would turn ``true`` into 1.0 and let NaN through."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: Any) -> Any:
        return _without_nulls(data)


class Message(_Strict):
    """One message of a chat."""

    role: Annotated[ChatText, Field(min_length=1)]
    content: ChatText


class Chat(NamedTuple):
    """A prompt that the model's chat template has to make."""

    messages: list[Message]


class StreamOptions(_Strict):
    """What a stream tells besides text."""

    include_usage: bool = Field(False, description="End the stream with a chunk that carries the usage.")
    continuous_usage_stats: bool = Field(
        False, description="With include_usage: usage so far on every chunk."
    )


class CompletionRequest(_Strict):
    """One request, valid on its own; :meth:`Limits.check` compares it with one server's limits."""

    model: str = Field(min_length=1, description="Name of the model that is to answer.")
    prompt: Annotated[PromptInput, BeforeValidator(_check_text), BeforeValidator(_check_prompt)] | None = (
        Field(None, description="Text, token ids, or a list of either. Give this or `messages`.")
    )
    messages: list[Message] | None = Field(
        None, min_length=1, description="A chat; the model's own template makes the prompt of it."
    )
    max_tokens: int = Field(
        16, ge=0, le=1 << 31, description="Most tokens to generate for a choice; 0 only with `echo`."
    )
    temperature: float = Field(1.0, ge=0, le=2, description="0 always takes the most probable token.")
    top_p: float = Field(1.0, ge=0, le=1, description="Mass of the nucleus that is drawn from.")
    n: int = Field(1, ge=1, le=MAX_CHOICES, description="Choices for each prompt.")
    best_of: int | None = Field(
        None,
        ge=1,
        le=MAX_BEST_OF,
        description="Candidates for each prompt, of which the `n` with the best mean logprob are returned.",
    )
    stream: bool = Field(False, description="Send the answer as server-sent events.")
    stream_options: StreamOptions | None = None
    logprobs: int | None = Field(None, ge=0, description="Alternatives to report for each token.")
    presence_penalty: float = Field(0.0, ge=-2, le=2, description="Lowers tokens generated before.")
    frequency_penalty: float = Field(0.0, ge=-2, le=2, description="Lowers tokens by how often generated.")
    logit_bias: dict[
        Annotated[int, Field(strict=False), BeforeValidator(_check_key)],
        Annotated[float, Field(ge=-100, le=100)],
    ] = Field(default_factory=dict, description="Token id to bias; -100 bans the token.")
    stop: Annotated[list[Stop], BeforeValidator(_one_or_many)] = Field(
        default_factory=list, max_length=MAX_STOPS, description="Strings that end a choice."
    )
    seed: int | None = Field(None, ge=-(1 << 63), lt=1 << 63, description="Repeats the same draws.")
    user: Text | None = Field(
        None, description="The end user's id: logged; users take turns when the engine is busy."
    )
    top_k: int = Field(0, ge=-1, le=1 << 31, description="Most tokens to draw from; 0 or -1 is off.")
    min_p: float = Field(0.0, ge=0, le=1, description="Least probability, relative to the best token's.")
    repetition_penalty: float = Field(
        1.0,
        gt=0,
        le=100,
        validation_alias=AliasChoices("repetition_penalty", "repeat_penalty"),
        description="Divides or multiplies the logits of tokens in prompt and answer.",
    )
    min_tokens: int = Field(
        0, ge=0, le=1 << 31, description="Tokens to generate before an end token or a stop may end a choice."
    )
    ignore_eos: bool = Field(False, description="Go on after the model's end token.")
    echo: bool = Field(False, description="Put the prompt before the answer, its logprobs too.")
    stop_token_ids: list[int] = Field(
        default_factory=list, max_length=MAX_STOP_TOKENS, description="Tokens that end a choice too."
    )
    include_stop_str_in_output: bool = Field(
        False, description="Leave the stop that ended a choice in its text."
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_what_is_to_come(cls, data: Any) -> Any:
        """A field of the contract that has no effect yet must not be taken silently."""
        if isinstance(data, Mapping):
            for name, default in _NOT_YET.items():
                if data.get(name, default) not in (None, default):
                    raise _wrong(f"{name}: is not supported by this version")
        return data

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            given = "neither" if self.prompt is None else "both"
            raise _wrong(f"prompt: exactly one of 'prompt' and 'messages' is required, {given} given")
        if self.stream_options is not None and not self.stream:
            raise _wrong("stream_options: is only allowed together with 'stream': true")
        if self.max_tokens == 0 and not self.echo:
            raise _wrong("max_tokens: should be at least 1, unless 'echo' is true, not 0")
        if self.min_tokens > self.max_tokens:
            raise _wrong(
                f"min_tokens: should be at most 'max_tokens' ({self.max_tokens}), not {self.min_tokens}"
            )
        if self.candidates < self.n:
            raise _wrong(f"best_of: should be at least 'n' ({self.n}), not {self.best_of}")
        if self.stream and self.candidates > self.n:
            raise _wrong(f"best_of: should be 'n' ({self.n}) in a stream, not {self.best_of}")
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


_NOT_YET: Mapping[str, object] = {
    "suffix": "",
}


class CompletionFields(TypedDict, total=False):
    """The fields of :class:`CompletionRequest` as keyword arguments of the Python door."""

    model: str
    prompt: PromptInput | None
    messages: list[dict[str, str]] | None
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    n: int | None
    best_of: int | None
    stream: bool | None
    stream_options: dict[str, bool] | None
    logprobs: int | None
    presence_penalty: float | None
    frequency_penalty: float | None
    logit_bias: dict[int, float] | None
    stop: str | list[str] | None
    seed: int | None
    user: str | None
    top_k: int | None
    min_p: float | None
    repetition_penalty: float | None
    min_tokens: int | None
    echo: bool | None
    ignore_eos: bool | None
    stop_token_ids: list[int] | None
    include_stop_str_in_output: bool | None


class TokenizeRequest(_Strict):
    """A text whose tokens are asked for."""

    prompt: Text = Field(description="The text.")
    add_special_tokens: bool = Field(True, description="Add the tokens that a prompt begins or ends with.")
    model: str | None = Field(None, description="Name of the model, where it is to be checked.")


class DetokenizeRequest(_Strict):
    """Tokens whose text is asked for."""

    tokens: list[int] = Field(description="Token ids.")
    model: str | None = Field(None, description="Name of the model, where it is to be checked.")


def parse_request(fields: Any, limits: Limits) -> CompletionRequest:
    """Make a request of plain Python values.

    Args:
        fields: What a door read: a mapping of field names to numbers, strings, lists and mappings.
        limits: What this server allows.

    Raises:
        InvalidRequestError: naming the first field at fault, its limit and its value.
    """
    request = parse_fields(CompletionRequest, fields)
    limits.check(request)
    return request


def parse_fields(kind: type[R], fields: Any) -> R:
    """Make a request of whatever kind of plain Python values.

    Raises:
        InvalidRequestError: naming the first field at fault, its limit and its value.
    """
    if not isinstance(fields, Mapping):
        raise InvalidRequestError(f"The request should be an object, not {shown(fields)}.")
    try:
        request = kind.model_validate(fields)
    except ValidationError as error:
        raise _explained(error) from None
    _log_unknown(fields.keys() - kind.model_fields)
    return request


_other_names = {*_NOT_YET, "repeat_penalty"}
_logged_fields: set[str] = set()


def _log_unknown(names: set[str]) -> None:
    for name in names - _other_names - _logged_fields:
        if len(_logged_fields) < 100:  # a client that makes up names must not fill the memory
            _logged_fields.add(name)
            log.warning("ignoring the unknown field %.80r; said once", name)


_SIZES = {
    "too_short": "should have at least {min_length} item(s)",
    "too_long": "should have at most {max_length} item(s)",
    "string_too_short": "should have at least {min_length} character(s)",
    "string_too_long": "should have at most {max_length} character(s)",
}


def _explained(error: ValidationError) -> InvalidRequestError:
    """Turn pydantic's first complaint into one sentence of ours."""
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"] if not isinstance(part, str) or _is_field_name(part)]
    name = f"{'.'.join(path):.80}"
    if first["type"] == "missing":
        return InvalidRequestError(f"'{name}' is required.", param=path[0])
    problem = first["msg"].removeprefix("Input ").removeprefix("Value ")
    if first["type"] in _SIZES:
        problem, size = _SIZES[first["type"]].format(**first["ctx"]), len(first["input"])
        return InvalidRequestError(f"'{name}' {problem}, not {size}.", param=path[0])
    if first["type"] == "contract":
        problem = first["ctx"]["problem"]
        if not path:  # a rule over several fields names its own
            name, _, problem = problem.partition(": ")
            return InvalidRequestError(f"'{name}' {problem}.", param=name)
        return InvalidRequestError(f"'{name}' {problem}.", param=path[0])
    return InvalidRequestError(f"'{name}' {problem}, not {shown(first['input'])}.", param=path[0])


def _is_field_name(part: str) -> bool:
    """Tell a field from the tags that pydantic puts into the path of a union or a mapping."""
    return part.isidentifier()


def _refuse(name: str, limit: str, value: object) -> NoReturn:
    raise InvalidRequestError(f"'{name}' {limit}, not {shown(value)}.", param=name)


def shown(value: object) -> str:
    """Show a value in an error's message, but never all of a long one."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) >= 1 << 64:
        return "an integer of more than 64 bits"
    shown = repr(value) if isinstance(value, str | int | float) else f"a value of type {type(value).__name__}"
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class Logprobs(_Answer):
    r"""Four parallel arrays, an entry for each token of the choice.

    A token that is not whole UTF-8 is written ``bytes:\xe5\xa4``; a probability of 0 as -9999.0.
    """

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]
    """Where each token begins, in characters from the start of the prompt."""
    token_ids: list[int] = Field(exclude=True)
    """For Python and gRPC; the contract's JSON has no place for them."""
    token_bytes: list[bytes] = Field(exclude=True)


class Choice(_Answer):
    """One completion of one prompt, or a piece of it in a stream."""

    text: str
    index: int
    logprobs: Logprobs | None = None
    finish_reason: FinishReason | None = None


class PromptTokensDetails(_Answer):
    """Where the prompt's tokens came from."""

    cached_tokens: int = 0


class Usage(_Answer):
    """Tokens of a whole request; each prompt counts once, whatever ``n`` is."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails = PromptTokensDetails()


class Completion(_Answer):
    """The answer to a request."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class CompletionChunk(_Answer):
    """A piece of a streamed answer: of one choice, or the usage at the end."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage | None = None


class ModelCard(_Answer):
    """One model that the server serves."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "nucleus"
    max_model_len: int
    """Most tokens of a prompt and its completion together."""
    n_vocab: int


class ModelList(_Answer):
    """The models that the server serves."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class Tokenized(_Answer):
    """The tokens of a text."""

    tokens: list[int]
    count: int
    max_model_len: int
    """Most tokens of a prompt and its completion together."""


class Detokenized(_Answer):
    """The text of tokens, control tokens by their names; what is not UTF-8 is replaced by U+FFFD."""

    prompt: str


class TokenizerInfo(_Answer):
    """The names of special tokens, and the chat template; null where the model has none."""

    bos_token: str | None
    eos_token: str | None
    pad_token: str | None
    chat_template: str | None


class ErrorDetail(_Answer):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(_Answer):
    """The form of every error."""

    error: ErrorDetail
