"""Every field of a request: its range, its default, and what a message says when it is out of it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from engine.contract.parsing import parse_fields, parse_request
from engine.contract.requests import DetokenizeRequest, TokenizeRequest
from engine.contract.validators import MAX_TEXT
from engine.errors import InvalidRequestError
from tests.contract.cases import (
    CONTAINERS,
    INF,
    INTEGERS,
    LIMITS,
    NAN,
    NOT_NUMBERS,
    NOT_TEXT,
    NUMBERS,
    name_of,
    pairs,
    parse,
    refused,
)


class TestNumbers:
    @pytest.mark.parametrize(
        ("field", "value"),
        pairs({field: [low, high, (low + high) / 2] for field, (low, high) in NUMBERS.items()}),
    )
    def test_borders_are_inside(self, field: str, value: float) -> None:
        assert getattr(parse(**{field: value}), name_of(field)) == value

    @pytest.mark.parametrize("field", NUMBERS)
    def test_an_integer_is_a_number(self, field: str) -> None:
        taken = getattr(parse(**{field: 1}), name_of(field))
        assert (taken, type(taken)) == (1.0, float)

    @pytest.mark.parametrize(
        ("field", "value"),
        pairs({f: [math.nextafter(a, -INF), math.nextafter(b, INF), 1e308] for f, (a, b) in NUMBERS.items()}),
    )
    def test_just_outside_names_the_field_the_limit_and_the_value(self, field: str, value: float) -> None:
        error = refused(**{field: value})
        low, high = NUMBERS[field]
        limit = high if value > high else (0 if "repe" in field else low)
        assert error.param == field
        assert f"'{field}'" in str(error)
        assert f" {limit:g}," in str(error)
        assert repr(value) in str(error)

    @pytest.mark.parametrize(("field", "value"), pairs({field: [NAN, INF, -INF] for field in NUMBERS}))
    def test_what_is_not_finite_is_refused(self, field: str, value: float) -> None:
        error = refused(**{field: value})
        assert error.param == field
        assert "finite" in str(error)
        assert repr(value) in str(error)

    @pytest.mark.parametrize("field", NUMBERS)
    @pytest.mark.parametrize("written", ["1e999", "-1e999", "NaN", "Infinity", "-Infinity"])
    def test_json_that_becomes_infinite_is_refused(self, field: str, written: str) -> None:
        assert refused(**{field: json.loads(written)}).param == field

    @pytest.mark.parametrize("field", [field for field in NUMBERS if "repe" not in field])
    def test_minus_zero_is_zero(self, field: str) -> None:
        assert getattr(parse(**{field: -0.0}), field) == 0

    @pytest.mark.parametrize("field", ["repetition_penalty", "repeat_penalty"])
    @pytest.mark.parametrize("value", [0, 0.0, -0.0])
    def test_a_penalty_that_divides_is_above_zero(self, field: str, value: float) -> None:
        assert refused(**{field: value}).param == field

    @pytest.mark.parametrize(("field", "value"), pairs(dict.fromkeys(NUMBERS, NOT_NUMBERS)))
    def test_what_is_no_number_is_refused(self, field: str, value: Any) -> None:
        error = refused(**{field: value})
        assert (error.param, "number" in str(error)) == (field, True)

    @pytest.mark.parametrize(("field", "value"), pairs({f: [10**30, -(10**30), 10**400] for f in NUMBERS}))
    def test_a_huge_integer_is_refused_and_not_shown(self, field: str, value: int) -> None:
        error = refused(**{field: value})
        assert error.param == field
        assert "an integer of more than 64 bits" in str(error)


class TestIntegers:
    @pytest.mark.parametrize(("field", "value"), pairs({f: list(borders) for f, borders in INTEGERS.items()}))
    def test_borders_are_inside(self, field: str, value: int) -> None:
        assert getattr(parse(**{field: value}), field) == value

    @pytest.mark.parametrize(
        ("field", "value"), pairs({f: [low - 1, high + 1] for f, (low, high) in INTEGERS.items()})
    )
    def test_just_outside_names_the_field_the_limit_and_the_value(self, field: str, value: int) -> None:
        error = refused(**{field: value})
        low, high = INTEGERS[field]
        limits = {low} if value < low else {high, high + 1}  # "at most 5" and "less than 6" are one limit
        assert error.param == field
        assert f"'{field}'" in str(error)
        assert any(f" {limit}," in str(error) for limit in limits)
        assert str(error).endswith(f"not {value}.")

    @pytest.mark.parametrize(("field", "value"), pairs({f: [10**30, -(10**30), 10**5000] for f in INTEGERS}))
    def test_a_huge_integer_is_refused_and_not_shown(self, field: str, value: int) -> None:
        error = refused(**{field: value})
        assert error.param == field
        assert "an integer of more than 64 bits" in str(error)

    @pytest.mark.parametrize(
        ("field", "value"), pairs({f: [NAN, INF, -INF, 1.0, 1.5, -0.0, *NOT_NUMBERS] for f in INTEGERS})
    )
    def test_what_is_no_integer_is_refused(self, field: str, value: Any) -> None:
        error = refused(**{field: value})
        assert (error.param, "integer" in str(error)) == (field, True)


class TestBooleans:
    @pytest.mark.parametrize("value", [True, False])
    def test_stream(self, value: bool) -> None:
        assert parse(stream=value).stream is value

    @pytest.mark.parametrize("value", [0, 1, 1.0, "true", "", NAN, *CONTAINERS])
    def test_what_is_no_boolean_is_refused(self, value: Any) -> None:
        assert refused(stream=value).param == "stream"
        for option in ("include_usage", "continuous_usage_stats"):
            assert refused(stream=True, stream_options={option: value}).param == "stream_options"


class TestStreamOptions:
    def test_only_together_with_stream(self) -> None:
        for options in ({}, {"include_usage": False}, {"include_usage": True}):
            for stream in (False, None):
                error = refused(stream=stream, stream_options=options)
                assert (error.param, "'stream': true" in str(error)) == ("stream_options", True)
        assert parse(stream_options=None).stream_options is None

    @pytest.mark.parametrize("option", ["include_usage", "continuous_usage_stats"])
    def test_each_is_off_unless_asked_for(self, option: str) -> None:
        for options, expected in (({}, False), ({option: None}, False), ({option: True}, True)):
            assert getattr(parse(stream=True, stream_options=options).stream_options, option) is expected

    @pytest.mark.parametrize("value", [True, 1, "include_usage", [], ["include_usage"], NAN])
    def test_what_is_no_object_is_refused(self, value: Any) -> None:
        assert refused(stream=True, stream_options=value).param == "stream_options"


class TestText:
    @pytest.mark.parametrize("field", ["model", "user"])
    @pytest.mark.parametrize("value", NOT_TEXT, ids=lambda value: type(value).__name__)
    def test_what_is_no_text_is_refused(self, field: str, value: Any) -> None:
        assert refused(**{field: value}).param == field

    @pytest.mark.parametrize("text", ["\ud800", "a\udfffb"], ids=ascii)
    def test_a_lone_surrogate_is_refused_wherever_text_is_taken(self, text: str) -> None:
        places: list[tuple[str, Any]] = [
            *((field, text) for field in ("model", "prompt", "user", "stop")),
            *((field, ["a", text]) for field in ("prompt", "stop")),
        ]
        for field, value in places:
            assert refused(**{field: value}).param == field
        for message in ({"role": text, "content": "a"}, {"role": "a", "content": text}):
            assert refused(prompt=None, messages=[message]).param == "messages"

    @pytest.mark.parametrize("kind", [TokenizeRequest, DetokenizeRequest])
    def test_a_lone_surrogate_is_refused_in_the_model_of_other_requests(
        self, kind: type[TokenizeRequest | DetokenizeRequest]
    ) -> None:
        with pytest.raises(InvalidRequestError, match="'model' should be valid Unicode"):
            parse_fields(kind, {"prompt": "a", "tokens": [1], "model": "\ud800"})

    def test_other_characters_are_taken_as_they_are(self) -> None:
        text = "\x00\u202e\uffff🙂 天\r\n"
        request = parse(prompt=text, user=text, stop=text)
        assert (request.prompt, request.user, request.stop) == (text, text, [text])

    def test_text_has_a_longest(self) -> None:
        assert parse(prompt="a" * MAX_TEXT).prompt is not None
        for field, value in (("prompt", "a" * (MAX_TEXT + 1)), ("stop", ["a" * (MAX_TEXT + 1)])):
            error = refused(**{field: value})
            assert error.param == field
            assert str(MAX_TEXT) in str(error)
            assert str(MAX_TEXT + 1) in str(error)

    def test_a_model_is_required(self) -> None:
        for fields in ({"prompt": "p"}, {"prompt": "p", "model": None}):
            with pytest.raises(InvalidRequestError, match="'model' is required") as caught:
                parse_request(fields, LIMITS)
            assert caught.value.param == "model"
        assert refused(model="").param == "model"

    def test_a_long_value_is_not_sent_back_whole(self) -> None:
        assert "..." in str(refused(temperature="x" * 10_000))
