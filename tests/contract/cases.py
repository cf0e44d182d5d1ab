"""What tests of the contract share: requests made, and refused."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st

from engine.contract.limits import Limits
from engine.contract.parsing import parse_request
from engine.errors import InvalidRequestError

if TYPE_CHECKING:
    from engine.contract.requests import CompletionRequest

NAN, INF = math.nan, math.inf


LIMITS = Limits()


MESSAGES = [{"role": "user", "content": "hi"}]


NUMBERS: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "min_p": (0, 1),
    "repetition_penalty": (math.nextafter(0, 1), 100),
    "repeat_penalty": (math.nextafter(0, 1), 100),
}


INTEGERS: dict[str, tuple[int, int]] = {
    "max_tokens": (1, 1 << 31),
    "n": (1, 128),
    "logprobs": (0, 5),
    "seed": (-(1 << 63), (1 << 63) - 1),
    "top_k": (-1, 1 << 31),
}


CONTAINERS: list[Any] = [[], {}, [1], {"a": 1}, (), b"1", object()]


NOT_NUMBERS: list[Any] = [True, False, "1", "", "NaN", 1j, *CONTAINERS]


NOT_TEXT: list[Any] = [True, 0, 1.5, NAN, *CONTAINERS]


STRINGS = st.text(st.sampled_from("a1 天\x00\ud800"), max_size=4)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | STRINGS


LISTS = st.lists(LEAVES | st.lists(LEAVES, max_size=2), max_size=3)


DEFAULTS: dict[str, Any] = {
    "messages": None,
    "max_tokens": 16,
    "temperature": 1.0,
    "top_p": 1.0,
    "n": 1,
    "stream": False,
    "stream_options": None,
    "logprobs": None,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "logit_bias": {},
    "stop": [],
    "seed": None,
    "user": None,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "best_of": None,
    "min_tokens": 0,
    "echo": False,
    "ignore_eos": False,
    "stop_token_ids": [],
    "include_stop_str_in_output": False,
    "return_token_ids": False,
    "resume_token_ids": [],
    "response_format": None,
    "structured_outputs": None,
    "grammar": "",
    "json_schema": None,
    "guided_json": None,
    "guided_regex": None,
    "guided_choice": None,
    "guided_grammar": None,
    "guided_json_object": False,
    "suffix": "",
}


def parse(**fields: Any) -> CompletionRequest:
    return parse_request({"model": "m", "prompt": "p", **fields}, LIMITS)


def refused(**fields: Any) -> InvalidRequestError:
    """Return the error; whatever was sent, it is short and can be sent back as UTF-8."""
    with pytest.raises(InvalidRequestError) as caught:
        parse(**fields)
    error = caught.value
    assert len(str(error)) < 400
    str(error).encode()
    assert error.body()["error"]["type"] == "invalid_request_error"
    return error


def pairs(table: dict[str, list[Any]]) -> list[Any]:
    """Make a parameter of each (field, value), with an id that can be read."""
    return [
        pytest.param(field, value, id=f"{field}={label(value)}")
        for field, values in table.items()
        for value in values
    ]


def label(value: Any) -> str:
    """Name a value in a test's id: shortly, and without addresses."""
    if isinstance(value, int) and abs(value) >= 10**30:
        return f"integer of {value.bit_length()} bits"
    return "object" if type(value) is object else f"{value!r:.30}"


def name_of(field: str) -> str:
    return "repetition_penalty" if field == "repeat_penalty" else field
