"""The forms of a prompt, of stops, of a bias, and rules between fields."""

from __future__ import annotations

import math
from typing import Any, get_type_hints

import pytest

from engine.contract.conversation import Chat, Message
from engine.contract.kwargs import CompletionFields
from engine.contract.parsing import parse_request
from engine.contract.requests import CompletionRequest
from engine.errors import InvalidRequestError
from tests.contract.cases import (
    DEFAULTS,
    INF,
    LIMITS,
    MESSAGES,
    NAN,
    NOT_NUMBERS,
    label,
    parse,
    refused,
)


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


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Hi", "Hi"),
        ([{"type": "text", "text": "Hi"}], "Hi"),
        ([{"type": "text", "text": "Hi"}, {"type": "text", "text": "there"}], "Hi\nthere"),
        (({"type": "text", "text": "", "cache_control": {}},), ""),
    ],
)
def test_the_content_of_a_message_is_a_text_or_parts_of_text(content: Any, text: str) -> None:
    request = parse_request({"model": "m", "messages": [{"role": "user", "content": content}]}, LIMITS)
    assert request.messages is not None
    assert request.messages[0].content == text


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ([], "empty list"),
        ([{"type": "image_url", "image_url": {"url": "data:"}}], "'image_url'"),
        ([{"type": "text", "text": "a"}, {"type": "input_audio"}], "part 1"),
        ([{"type": "text"}], "'text'"),
        ([{"type": "text", "text": 1}], "'text'"),
        ([{"text": "a"}], "'type'"),
        (["a"], "part 0"),
        ([None], "part 0"),
        ([{"type": "text", "text": "a\0"}], "NUL"),
        ([{"type": "text", "text": "\ud800"}], "surrogate"),
        ({"type": "text", "text": "a"}, "string"),
        (5, "string"),
    ],
)
def test_other_parts_of_a_message_are_refused_by_name(content: Any, problem: str) -> None:
    with pytest.raises(InvalidRequestError, match=problem) as refused:
        parse_request({"model": "m", "messages": [{"role": "user", "content": content}]}, LIMITS)
    assert refused.value.param == "messages"
