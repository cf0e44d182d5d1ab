"""Unknown fields, whole requests, a server's limits, and how a value is shown."""

from __future__ import annotations

import logging
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.contract import parsing
from engine.contract.fields import MAX_CHOICES
from engine.contract.limits import Limits
from engine.contract.messages import abbreviate
from engine.contract.parsing import parse_request
from engine.contract.requests import CompletionRequest
from engine.errors import InvalidRequestError
from tests.contract.cases import (
    DEFAULTS,
    INTEGERS,
    LEAVES,
    LIMITS,
    LISTS,
    NAN,
    NUMBERS,
    STRINGS,
    label,
    name_of,
    parse,
)


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
        CompletionRequest(model="m", prompt="p", logprobs=7).check(Limits(max_logprobs=7))
        with pytest.raises(InvalidRequestError, match=r"'logprobs' should be at most 7, not 8\.") as caught:
            CompletionRequest(model="m", prompt="p", logprobs=8).check(Limits(max_logprobs=7))
        assert caught.value.param == "logprobs"

    @pytest.mark.parametrize("item", ["a", [1]])
    def test_prompts(self, item: Any) -> None:
        limits = Limits(max_prompts=3)
        CompletionRequest(model="m", prompt=[item] * 3).check(limits)
        with pytest.raises(InvalidRequestError, match=r"at most 3 prompts, not 4\.") as caught:
            CompletionRequest(model="m", prompt=[item] * 4).check(limits)
        assert caught.value.param == "prompt"

    def test_choices_over_all_prompts(self) -> None:
        limits = Limits(max_sequences=12)
        CompletionRequest(model="m", prompt=["a"] * 3, n=4).check(limits)
        with pytest.raises(
            InvalidRequestError, match=r"prompts \(3\) should be at most 12, not 5\."
        ) as caught:
            CompletionRequest(model="m", prompt=["a"] * 3, n=5).check(limits)
        assert caught.value.param == "n"

    def test_token_ids_of_one_prompt_are_no_prompts(self) -> None:
        request = CompletionRequest(model="m", prompt=[1] * 1000, n=MAX_CHOICES)
        request.check(Limits(max_prompts=1, max_sequences=MAX_CHOICES))

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
