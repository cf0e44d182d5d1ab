"""The plain values of a request, where they are more than their types: strict, and null for the default."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from engine.contract.messages import abbreviate, contract_error
from engine.contract.schema_rules import allow_nulls

MAX_TEXT = 1 << 22
"""Most characters of a string in a request."""
_TOKEN_KEY = re.compile("0|-?[1-9][0-9]{0,18}")


class StrictModel(BaseModel):
    """An object of a request. Lax mode would turn ``true`` into 1.0 and let NaN through."""

    model_config = ConfigDict(
        strict=True, extra="ignore", allow_inf_nan=False, frozen=True, json_schema_extra=allow_nulls
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: Any) -> Any:
        """An explicit null means the default, everywhere."""
        if isinstance(data, Mapping):
            return {name: item for name, item in data.items() if item is not None}
        return data


def check_prompt(value: Any) -> Any:
    """Check which of four forms a prompt has before pydantic does, for one clear message instead of four."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list | tuple):
        raise contract_error(
            "should be a string, a list of strings, a list of token ids, or a list of such lists"
        )
    if not value:
        raise contract_error("should not be an empty list")
    if all(isinstance(item, str) for item in value) or _is_ids(value):
        return list(value)
    for position, item in enumerate(value):
        if not isinstance(item, list | tuple) or not _is_ids(item):
            raise contract_error(
                f"item {position} fits none of: all strings, all token ids, all lists of token ids"
            )
        if not item:
            raise contract_error(f"item {position} should not be an empty list")
    return [list(item) for item in value]


def _is_ids(value: Any) -> bool:
    return all(type(item) is int for item in value)


def check_text(value: Any, *, max_length: int) -> Any:
    """Refuse lone surrogates, which UTF-8 cannot encode, and strings that are too long."""
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise contract_error(
                    f"should be valid Unicode; character {error.start} is a lone surrogate"
                ) from None
            if len(text) > max_length:
                raise contract_error(f"should have at most {max_length} characters, not {len(text)}")
    return value


# What pydantic cannot see in a validator of ours goes into the JSON schema by hand, beside that validator.
# MAX_TEXT does not: over HTTP a body is too large before one of its texts is too long.
CHECK_TEXT = BeforeValidator(partial(check_text, max_length=MAX_TEXT))
Text = Annotated[str, CHECK_TEXT]


def check_no_nul(value: Any) -> Any:
    """Refuse NUL: the chat template takes C strings, and would silently cut the text there."""
    if isinstance(value, str) and "\0" in value:
        raise contract_error(f"should not contain the character NUL, as it does at {value.index(chr(0))}")
    return value


def join_text_parts(value: Any) -> Any:
    """Return the text of a message's parts, a line break between two; anything else as it is.

    Templates that llama.cpp knows take a text. vLLM and llama.cpp's server join parts in the same way.
    """
    if not isinstance(value, list | tuple):
        return value
    if not value:
        raise contract_error("should not be an empty list")
    return "\n".join(_text_of(part, position) for position, part in enumerate(value))


def _text_of(part: Any, position: int) -> str:
    if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
        raise contract_error(f"part {position} should be an object with a 'type'")
    if part["type"] != "text":
        raise contract_error(f"part {position} should be of the type 'text', not {abbreviate(part['type'])}")
    text = part.get("text")
    if not isinstance(text, str):
        raise contract_error(f"part {position} should have a string as its 'text'")
    return text


def one_or_many(value: Any) -> Any:
    """Return a single string as a list of one."""
    return [value] if isinstance(value, str) else value


def check_key(value: Any) -> Any:
    """Refuse keys that are not plain integers; pydantic alone would accept a string such as " 1_0.0"."""
    if isinstance(value, str) and not _TOKEN_KEY.fullmatch(value):
        raise contract_error(f"should have token ids as keys, not {abbreviate(value)}")
    return value
