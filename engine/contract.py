"""The completions contract: every field with its range, default and cap, once, for all doors.

A door turns its wire into a mapping of plain Python values and calls :func:`parse_request`; nothing else in
the package validates a request.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn, Self, TypedDict, TypeVar

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
from typing_extensions import TypeAliasType

from engine.errors import InvalidRequestError

if TYPE_CHECKING:
    from engine.responses import ModelCard

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

# What pydantic cannot see in a validator of ours goes into the JSON schema by hand, beside that validator.
# MAX_TEXT does not: over HTTP a body is too large before one of its texts is too long.
Text = Annotated[str, BeforeValidator(_check_text)]
ChatText = Annotated[
    Text, BeforeValidator(_check_no_nul), Field(json_schema_extra={"pattern": r"^[^\x00]*$"})
]
Stop = Annotated[str, Field(min_length=1, max_length=MAX_STOP), BeforeValidator(_check_text)]
TokenId = TypeAliasType(
    "TokenId", Annotated[int, Field(description="A token of the model.", json_schema_extra={"minimum": 0})]
)
"""Its upper limit is the model's, so the service checks it."""

_PromptForms = (
    Text
    | Annotated[list[Text], Field(min_length=1)]
    | Annotated[list[TokenId], Field(min_length=1)]
    | Annotated[list[Annotated[list[TokenId], Field(min_length=1)]], Field(min_length=1)]
)
_StopForms = Stop | Annotated[list[Stop], Field(max_length=MAX_STOPS)]


R = TypeVar("R", bound="_Strict")


def _allow_nulls(schema: dict[str, Any]) -> None:
    """Let a JSON schema say what :func:`_without_nulls` does."""
    for name in schema["properties"].keys() - schema.get("required", ()):
        field = schema["properties"][name]
        if "$ref" in field:
            field["anyOf"] = [{"$ref": field.pop("$ref")}]
        if "const" in field:
            field["enum"] = [field.pop("const"), None]
        elif "type" in field:
            field["type"] = [field["type"], "null"]
        elif {"type": "null"} not in field["anyOf"]:
            field["anyOf"].append({"type": "null"})


class _Strict(BaseModel):
    """Lax mode would turn ``true`` into 1.0 and let NaN through."""

    model_config = ConfigDict(
        strict=True, extra="ignore", allow_inf_nan=False, frozen=True, json_schema_extra=_allow_nulls
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: Any) -> Any:
        return _without_nulls(data)


class Message(_Strict):
    """One message of a chat."""

    role: Annotated[ChatText, Field(min_length=1)] = Field(
        description="Who speaks, as the model's chat template has it.", examples=["user"]
    )
    content: ChatText = Field(description="What is said.", examples=["What is the capital of France?"])


class Chat(NamedTuple):
    """A prompt that the model's chat template has to make."""

    messages: list[Message]


class StreamOptions(_Strict):
    """What a stream tells besides text."""

    include_usage: bool = Field(
        False, description="End the stream with a chunk that has no choices and carries the usage."
    )
    continuous_usage_stats: bool = Field(
        False, description="With `include_usage`: the usage so far on every chunk."
    )


def _describe_rules(schema: dict[str, Any]) -> None:
    """Add to the JSON schema of a request what is no field's own."""
    fields = schema["properties"]
    other = "Another name of `repetition_penalty`, which counts where both are given."
    fields["repeat_penalty"] = fields["repetition_penalty"] | {"description": other}
    _allow_nulls(schema)
    null = {"type": "null"}
    schema["description"] = (
        "What to complete, and how. In every field that is not required, null means the default; unknown "
        "fields are ignored. Some rules hold between fields: exactly one of `prompt` and `messages` is "
        "given; `max_tokens` is 0 only with `echo`; `min_tokens` is at most `max_tokens`; `best_of` is at "
        "least `n`, and no more in a stream; `stream_options` is only given with `stream`; `suffix` goes "
        "with `prompt` and without `echo`."
    )
    schema["allOf"] = [
        {"oneOf": [{"properties": {"prompt": null}}, {"properties": {"messages": null}}]},
        {"anyOf": [{"properties": {"max_tokens": {"not": {"const": 0}}}}, _with("echo")]},
        {"anyOf": [{"properties": {"stream_options": null}}, _with("stream")]},
        {
            "anyOf": [
                {"properties": {"suffix": {"enum": ["", None]}}},
                {"properties": {"messages": null, "echo": {"not": {"const": True}}}},
            ]
        },
    ]


def _with(flag: str) -> dict[str, Any]:
    return {"properties": {flag: {"const": True}}, "required": [flag]}


class CompletionRequest(_Strict):
    """One request, valid on its own; :meth:`Limits.check` compares it with one server's limits."""

    model_config = ConfigDict(json_schema_extra=_describe_rules)

    model: str = Field(
        min_length=1, description="Name of the model that is to answer; 404 when the server serves another."
    )
    prompt: (
        Annotated[
            PromptInput,
            BeforeValidator(_check_text),
            BeforeValidator(_check_prompt, json_schema_input_type=_PromptForms),
        ]
        | None
    ) = Field(
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
        Annotated[int, Field(strict=False), BeforeValidator(_check_key)],
        Annotated[float, Field(ge=-100, le=100)],
    ] = Field(
        {},
        description="Token id to what is added to its logit; -100 bans the token, 100 all but forces it.",
        examples=[{"7": -100, "12": 1.5}],
        json_schema_extra={"propertyNames": {"pattern": "^(0|[1-9][0-9]*)$"}},
    )
    stop: Annotated[list[Stop], BeforeValidator(_one_or_many, json_schema_input_type=_StopForms)] = Field(
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
        if self.suffix and self.prompt is None:
            raise _wrong("suffix: is only allowed together with 'prompt', not with 'messages'")
        if self.suffix and self.echo:
            raise _wrong("suffix: is not allowed together with 'echo': true")
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
    suffix: str | None
    ignore_eos: bool | None
    stop_token_ids: list[int] | None
    include_stop_str_in_output: bool | None


class TokenizeRequest(_Strict):
    """A text whose tokens are asked for."""

    prompt: Text = Field(description="The text.", examples=["The capital of France is"])
    add_special_tokens: bool = Field(True, description="Add the tokens that a prompt begins or ends with.")
    model: str | None = Field(
        None, description="Name of the model; 404 when the server serves another. Null: whichever it serves."
    )


class DetokenizeRequest(_Strict):
    """Tokens whose text is asked for."""

    tokens: list[TokenId] = Field(description="Token ids.", examples=[[9, 4, 27]])
    model: str | None = Field(
        None, description="Name of the model; 404 when the server serves another. Null: whichever it serves."
    )


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


_other_names = {"repeat_penalty"}
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


def request_schemas(limits: Limits, card: ModelCard, *, template: str) -> dict[str, Any]:
    """Return the JSON schemas of all requests by name, with the limits that one server and its model set.

    Args:
        limits: What the server allows.
        card: The model that it serves.
        template: What a reference looks like, with ``{model}`` in place of the name.
    """
    schemas: dict[str, Any] = {}
    for kind in (CompletionRequest, TokenizeRequest, DetokenizeRequest):
        schema = kind.model_json_schema(ref_template=template)
        schemas |= schema.pop("$defs", {}) | {kind.__name__: schema}
    schemas["TokenId"]["maximum"] = card.n_vocab - 1
    fields = schemas["CompletionRequest"]["properties"]
    fields["model"]["examples"] = [card.id]
    fields["logprobs"]["anyOf"][0]["maximum"] = limits.max_logprobs
    fields["max_tokens"]["maximum"] = fields["min_tokens"]["maximum"] = card.max_model_len - 1
    _, texts, tokens, token_lists, _ = fields["prompt"]["anyOf"]
    texts["maxItems"] = token_lists["maxItems"] = limits.max_prompts
    tokens["maxItems"] = token_lists["items"]["maxItems"] = card.max_model_len
    return schemas


EXAMPLES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "text": ("Continue a text", {"prompt": "The capital of France is", "max_tokens": 16, "temperature": 0}),
    "choices": (
        "Several choices of several prompts, with log probabilities",
        {"prompt": ["Once upon a time", "天气非常好"], "n": 2, "max_tokens": 8, "logprobs": 1, "seed": 1},
    ),
    "tokens": ("Continue token ids", {"prompt": [9, 4, 27], "max_tokens": 8, "logit_bias": {"7": -100}}),
    "chat": (
        "Answer a chat, as a stream",
        {
            "messages": [{"role": "user", "content": "What is the capital of France?"}],
            "max_tokens": 16,
            "stop": ["\n\n"],
            "stream": True,
            "stream_options": {"include_usage": True},
        },
    ),
    "score": ("Score a text", {"prompt": "天气非常好", "max_tokens": 0, "echo": True, "logprobs": 0}),
}
"""Requests that show what can be asked for: name to summary and fields, all but the model."""
