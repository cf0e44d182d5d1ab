"""Every field of a request: its range, its default, and what a message says when it is out of it."""

from __future__ import annotations

import json
import logging
import math
from types import MappingProxyType
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.contract import parsing
from engine.contract.kwargs import CompletionFields
from engine.contract.messages import abbreviate
from engine.contract.parsing import parse_request
from engine.contract.requests import MAX_CHOICES, MAX_TEXT, Chat, CompletionRequest, Limits, Message
from engine.errors import InvalidRequestError

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


class TestPrompt:
    @pytest.mark.parametrize(
        ("given", "one_by_one"),
        [
            pytest.param("p", ["p"], id="text"),
            pytest.param("", [""], id="empty text"),
            pytest.param(["p", ""], ["p", ""], id="texts"),
            pytest.param([1, 2], [[1, 2]], id="token ids"),
            pytest.param([0], [[0]], id="one token id"),
            pytest.param([[1, 2], [3]], [[1, 2], [3]], id="lists of token ids"),
            pytest.param(([1], (2, 3)), [[1], [2, 3]], id="tuples"),
            pytest.param([-1, 1 << 40], [[-1, 1 << 40]], id="ids that only the model can judge"),
        ],
    )
    def test_forms(self, given: Any, one_by_one: list[Any]) -> None:
        assert parse(prompt=given).prompts == one_by_one

    @pytest.mark.parametrize(
        "value",
        [
            *([], [[]], [[1], []], [1, "a"], ["a", 1], ["a", [1]], [[1], "a"], [[1], 2], [None], ["a", None]),
            *([1, True], [[True]], [1.0], [1, NAN], [[[1]]], [["a"]], {}, {"a": 1}, 5, 1.5, NAN, True, b"a"),
        ],
        ids=repr,
    )
    def test_what_is_none_of_them_is_refused(self, value: Any) -> None:
        error = refused(prompt=value)
        assert (error.param, str(error).startswith("'prompt' ")) == ("prompt", True)

    @pytest.mark.parametrize("fields", [{}, {"prompt": None}, {"prompt": None, "messages": None}])
    def test_neither_prompt_nor_messages_is_refused(self, fields: dict[str, Any]) -> None:
        with pytest.raises(InvalidRequestError, match="neither given") as caught:
            parse_request({"model": "m", **fields}, LIMITS)
        assert caught.value.param == "prompt"

    def test_both_are_refused(self) -> None:
        error = refused(messages=MESSAGES)
        assert (error.param, "both given" in str(error)) == ("prompt", True)

    def test_messages_are_one_prompt(self) -> None:
        messages = [{"role": "system", "content": ""}, *MESSAGES]
        request = parse(prompt=None, messages=messages)
        assert request.prompts == [Chat([Message(role=m["role"], content=m["content"]) for m in messages])]

    @pytest.mark.parametrize(
        "messages",
        [
            *([], {}, "hi", 5, True, NAN, [5], ["hi"], [[]], [{}], [{"role": "user"}], [{"content": "hi"}]),
            *(
                [{"role": "", "content": "hi"}],
                [{"role": 1, "content": "hi"}],
                [{"role": "a", "content": None}],
            ),
            *([{"role": "a", "content": [{"type": "text"}]}], [*MESSAGES, None]),
        ],
        ids=repr,
    )
    def test_bad_messages_are_refused(self, messages: Any) -> None:
        assert refused(prompt=None, messages=messages).param == "messages"


class TestStop:
    @pytest.mark.parametrize(
        ("value", "taken"),
        [("a", ["a"]), ([], []), (["a"], ["a"]), (["a", "b", "c", "d"], ["a", "b", "c", "d"]), (None, [])],
    )
    def test_forms(self, value: Any, taken: list[str]) -> None:
        assert parse(stop=value).stop == taken

    @pytest.mark.parametrize(
        "value", ["", [""], ["a", ""], [None], [1], [["a"]], 1, True, NAN, {}, {"a": 1}, b"a"], ids=repr
    )
    def test_what_is_no_stop_string_is_refused(self, value: Any) -> None:
        assert refused(stop=value).param == "stop"

    def test_more_than_four_are_refused(self) -> None:
        error = refused(stop=["a"] * 5)
        assert "4" in str(error)
        assert str(error).endswith("not 5.")


class TestLogitBias:
    @pytest.mark.parametrize(
        ("value", "taken"),
        [
            ({}, {}),
            ({5: 1}, {5: 1.0}),
            ({"5": -100, "6": 100.0}, {5: -100.0, 6: 100.0}),
            ({-1: 0.5}, {-1: 0.5}),  # which ids there are, the model knows
            ({1 << 40: 0}, {1 << 40: 0.0}),
        ],
    )
    def test_forms(self, value: Any, taken: dict[int, float]) -> None:
        assert parse(logit_bias=value).logit_bias == taken

    @pytest.mark.parametrize(
        "bias",
        [math.nextafter(100, INF), math.nextafter(-100, -INF), NAN, INF, -INF, 10**30, None, *NOT_NUMBERS],
        ids=label,
    )
    def test_a_bias_out_of_range_is_refused(self, bias: Any) -> None:
        assert refused(logit_bias={"5": bias}).param == "logit_bias"
        assert refused(logit_bias={1: 0, 5: bias}).param == "logit_bias"

    @pytest.mark.parametrize(
        "key",
        [
            *("a", "", "1.5", "1e3", "NaN", 1.5, NAN, None, "9" * 5000, "\ud800", "a" * 100_000),
            *("1_0", " 5", "5\n", "+5", "05", "5.0", "-0", "\u0665"),
        ],
    )
    def test_a_key_that_is_no_token_id_is_refused_in_a_short_message(self, key: Any) -> None:
        assert refused(logit_bias={key: 1}).param == "logit_bias"

    @pytest.mark.parametrize("value", [[], [1], "5", 5, True, NAN], ids=repr)
    def test_what_is_no_mapping_is_refused(self, value: Any) -> None:
        assert refused(logit_bias=value).param == "logit_bias"


class TestDefaults:
    def test_a_field_left_out_and_a_null_are_the_default(self) -> None:
        bare = parse()
        assert {name: getattr(bare, name) for name in DEFAULTS} == DEFAULTS
        nulls = parse(**dict.fromkeys([*DEFAULTS, "repeat_penalty"]))
        assert nulls == bare

    def test_every_field_has_its_default_here(self) -> None:
        assert {*DEFAULTS, "model", "prompt"} == set(CompletionRequest.model_fields)

    def test_the_python_door_has_the_same_fields(self) -> None:
        assert set(get_type_hints(CompletionFields)) == set(CompletionRequest.model_fields)

    def test_the_other_spelling_of_the_repetition_penalty(self) -> None:
        assert parse(repeat_penalty=1.5).repetition_penalty == 1.5
        assert parse(repeat_penalty=1.5, repetition_penalty=None).repetition_penalty == 1.5
        assert parse(repeat_penalty=1.5, repetition_penalty=1.25).repetition_penalty == 1.25

    def test_a_request_cannot_be_changed(self) -> None:
        with pytest.raises(ValueError, match="frozen"):
            parse().temperature = 0.5  # type: ignore[misc]


class TestTogether:
    @pytest.mark.parametrize("beside", [{"echo": True}, {"prompt": None, "messages": MESSAGES}], ids=str)
    def test_a_suffix_goes_with_a_prompt_that_is_not_echoed(self, beside: dict[str, Any]) -> None:
        assert parse(suffix="b").suffix == "b"
        assert refused(**beside, suffix="b").param == "suffix"
        assert parse(**beside, suffix="").suffix == ""

    def test_candidates_are_n_unless_best_of_says_otherwise(self) -> None:
        assert parse(n=30).candidates == 30
        assert parse(n=3, best_of=3).candidates == 3
        assert parse(n=2, best_of=20).candidates == 20

    def test_best_of_below_n_is_refused(self) -> None:
        assert str(refused(n=2, best_of=1)) == "'best_of' should be at least 'n' (2), not 1."

    def test_best_of_above_n_is_refused_in_a_stream(self) -> None:
        assert parse(n=2, best_of=2, stream=True).candidates == 2
        assert str(refused(best_of=2, stream=True)) == "'best_of' should be 'n' (1) in a stream, not 2."

    def test_all_candidates_count_against_the_most_choices_of_a_request(self) -> None:
        assert refused(prompt=["p"] * 52, best_of=20).param == "best_of"
        assert refused(prompt=["p"] * 9, n=128).param == "n"

    def test_no_tokens_are_generated_only_with_echo(self) -> None:
        assert parse(max_tokens=0, echo=True).max_tokens == 0
        assert (
            str(refused(max_tokens=0)) == "'max_tokens' should be at least 1, unless 'echo' is true, not 0."
        )

    def test_min_tokens_beyond_max_tokens_is_refused(self) -> None:
        assert parse(min_tokens=16).min_tokens == 16
        assert str(refused(min_tokens=17)) == "'min_tokens' should be at most 'max_tokens' (16), not 17."


class TestUnknown:
    def test_fields_are_ignored_and_logged_once(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(parsing, "_logged_fields", set())
        with caplog.at_level(logging.WARNING, logger="nucleus.contract"):
            for _ in range(2):
                assert parse(nonsense=1, other=[NAN]) == parse()
        assert sorted(record.getMessage().split("'")[1] for record in caplog.records) == ["nonsense", "other"]

    def test_names_made_up_for_ever_do_not_fill_memory_or_log(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        logged: set[str] = set()
        monkeypatch.setattr(parsing, "_logged_fields", logged)
        with caplog.at_level(logging.WARNING, logger="nucleus.contract"):
            for number in range(300):
                parse(**{f"{number}{'x' * 10_000}": 1})
        assert len(caplog.records) == len(logged) == 100
        assert max(len(record.getMessage()) for record in caplog.records) < 200

    def test_a_known_field_is_not_logged(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(parsing, "_logged_fields", set())
        with caplog.at_level(logging.WARNING, logger="nucleus.contract"):
            parse(**dict.fromkeys([*DEFAULTS]), repeat_penalty=1.0)
        assert not caplog.records

    def test_strange_names_do_no_harm(self) -> None:
        assert parse_request({"model": "m", "prompt": "p", "\ud800": 1, "": 2, "a b": 3}, LIMITS) == parse()


class TestWhole:
    @pytest.mark.parametrize("fields", [None, 5, NAN, True, "{}", [], [("model", "m")], b"{}"], ids=repr)
    def test_what_is_no_object_is_refused(self, fields: Any) -> None:
        with pytest.raises(InvalidRequestError, match="should be an object"):
            parse_request(fields, LIMITS)

    def test_any_mapping_is_an_object(self) -> None:
        assert parse_request(MappingProxyType({"model": "m", "prompt": "p"}), LIMITS) == parse()

    @settings(max_examples=150)
    @given(
        st.dictionaries(
            st.sampled_from([*CompletionRequest.model_fields, "repeat_penalty"]),
            LEAVES | LISTS | st.dictionaries(STRINGS, LEAVES | LISTS, max_size=2),
        )
    )
    def test_whatever_comes_gives_a_request_in_range_or_an_error_that_names_a_field(
        self, fields: dict[str, Any]
    ) -> None:
        known = {*CompletionRequest.model_fields, "repeat_penalty"}
        try:
            request = parse_request({"model": "m", "prompt": "p", **fields}, LIMITS)
        except InvalidRequestError as error:
            problem: InvalidRequestError | None = error
        else:
            problem = None
        if problem is not None:
            assert problem.param in known
            str(problem).encode()
            return
        for field, (low, high) in {**NUMBERS, **INTEGERS}.items():
            value = getattr(request, name_of(field))
            assert value is None or low <= value <= high


class TestLimits:
    def test_logprobs(self) -> None:
        Limits(max_logprobs=7).check(CompletionRequest(model="m", prompt="p", logprobs=7))
        with pytest.raises(InvalidRequestError, match=r"'logprobs' should be at most 7, not 8\.") as caught:
            Limits(max_logprobs=7).check(CompletionRequest(model="m", prompt="p", logprobs=8))
        assert caught.value.param == "logprobs"

    @pytest.mark.parametrize("item", ["a", [1]])
    def test_prompts(self, item: Any) -> None:
        limits = Limits(max_prompts=3)
        limits.check(CompletionRequest(model="m", prompt=[item] * 3))
        with pytest.raises(InvalidRequestError, match=r"at most 3 prompts, not 4\.") as caught:
            limits.check(CompletionRequest(model="m", prompt=[item] * 4))
        assert caught.value.param == "prompt"

    def test_choices_over_all_prompts(self) -> None:
        limits = Limits(max_sequences=12)
        limits.check(CompletionRequest(model="m", prompt=["a"] * 3, n=4))
        with pytest.raises(
            InvalidRequestError, match=r"prompts \(3\) should be at most 12, not 5\."
        ) as caught:
            limits.check(CompletionRequest(model="m", prompt=["a"] * 3, n=5))
        assert caught.value.param == "n"

    def test_token_ids_of_one_prompt_are_no_prompts(self) -> None:
        Limits(max_prompts=1, max_sequences=MAX_CHOICES).check(
            CompletionRequest(model="m", prompt=[1] * 1000, n=MAX_CHOICES)
        )

    def test_a_request_is_checked_against_the_limits_it_is_parsed_with(self) -> None:
        with pytest.raises(InvalidRequestError):
            parse_request({"model": "m", "prompt": "p", "logprobs": 1}, Limits(max_logprobs=0))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (5, "5"),
        ((1 << 64) - 1, "18446744073709551615"),
        (1 << 64, "an integer of more than 64 bits"),
        (-(1 << 64), "an integer of more than 64 bits"),
        (10**5000, "an integer of more than 64 bits"),
        (0.5, "0.5"),
        ("it's", '"it\'s"'),
        ("x" * 100, "'" + "x" * 76 + "..."),
        (None, "a value of type NoneType"),
        ([1] * 1000, "a value of type list"),
    ],
    ids=label,
)
def test_a_value_is_shown_but_never_a_long_one(value: object, text: str) -> None:
    assert abbreviate(value) == text
