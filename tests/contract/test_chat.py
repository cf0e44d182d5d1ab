"""The request of the chat shape: its own fields, what it refuses, and the completion that it asks for."""

from __future__ import annotations

import logging
from typing import Any, get_type_hints

import jsonschema_rs
import pytest

from engine.contract import parsing
from engine.contract.chat import ChatRequest
from engine.contract.fields import GenerationRequest
from engine.contract.kwargs import ChatFields
from engine.contract.limits import Limits
from engine.contract.parsing import parse_chat
from engine.contract.requests import CompletionRequest
from engine.contract.unsupported import CHAT
from engine.errors import InvalidRequestError
from tests.contract.cases import MESSAGES

ASK: dict[str, Any] = {"model": "m", "messages": MESSAGES}
BEGUN = [*MESSAGES, {"role": "assistant", "content": "a"}]
ACTING: dict[str, Any] = {
    "prompt": "a",
    "best_of": 2,
    "echo": True,
    "suffix": "a",
    "tools": [{"type": "function"}],
    "tool_choice": "required",
    "functions": [{"name": "f"}],
    "modalities": ["audio"],
    "audio": {"voice": "a"},
    "chat_template": "{{ 1 }}",
    "reasoning_effort": "high",
    "n_predict": 3,
    "n_probs": 3,
}
INERT: dict[str, list[Any]] = {
    "prompt": [None],
    "best_of": [None, 1],
    "echo": [None, False],
    "suffix": [None, ""],
    "tools": [None, []],
    "tool_choice": ["none", "auto"],
    "modalities": [["text"]],
    "store": [True],
    "metadata": [{"a": "b"}],
    "service_tier": ["auto"],
    "parallel_tool_calls": [True],
}


def parse(**fields: Any) -> ChatRequest:
    return parse_chat({**ASK, **fields}, Limits())


def refused(**fields: Any) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as caught:
        parse(**fields)
    return caught.value


@pytest.mark.parametrize("field", ACTING)
def test_what_would_change_the_answer_is_refused_by_name(
    field: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert refused(**{field: ACTING[field]}).param == field
    assert "ignoring" not in caplog.text
    assert not is_described(field, ACTING[field])


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in INERT for value in INERT[field]])
def test_what_asks_for_nothing_is_ignored(field: str, value: object) -> None:
    assert parse(**{field: value}) == parse()
    assert is_described(field, value)


def is_described(field: str, value: object) -> bool:
    schema = {"patternProperties": CHAT.pattern_properties()}
    return jsonschema_rs.Draft202012Validator(schema).is_valid({field: value})


def test_what_clients_send_without_a_meaning_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(parsing, "_logged_fields", set())
    with caplog.at_level(logging.WARNING, logger="nucleus.contract"):
        for _ in range(2):
            parse(store=True, parallel_tool_calls=False)
    assert len(caplog.records) == 2


@pytest.mark.parametrize("name", ["tool_calls", "function_call", "audio"])
def test_a_message_that_says_more_than_text_is_refused(name: str) -> None:
    plain = {"role": "assistant", "content": "a", name: None, "refusal": None}
    assert parse(messages=[plain]) == parse(messages=[{"role": "assistant", "content": "a"}])
    assert refused(messages=[plain | {name: [{"id": "1"}]}]).param == "messages"


def test_the_python_door_has_the_same_fields() -> None:
    assert set(get_type_hints(ChatFields)) == set(ChatRequest.model_fields)


def test_no_field_is_written_twice() -> None:
    for kind in (CompletionRequest, ChatRequest):
        own = set(kind.__annotations__) - {"model_config", "unsupported"}
        assert not own & set(GenerationRequest.model_fields)


@pytest.mark.parametrize(
    ("fields", "max_tokens"),
    [
        ({}, 100),
        ({"max_tokens": 3}, 3),
        ({"max_completion_tokens": 3}, 3),
        ({"max_completion_tokens": 3, "max_tokens": 3}, 3),
        ({"max_completion_tokens": None, "max_tokens": 3}, 3),
    ],
    ids=str,
)
def test_the_completion_that_it_asks_for_has_its_limit(fields: dict[str, Any], max_tokens: int) -> None:
    assert parse(**fields).completion(100).max_tokens == max_tokens


def test_the_completion_that_it_asks_for_is_the_one_that_would_be_parsed() -> None:
    shared = {
        "temperature": 0.5,
        "repeat_penalty": 1.5,
        "logit_bias": {"1": 2},
        "stop": "a",
        "stream": True,
        "stream_options": {"include_usage": True},
        "structured_outputs": {"choice": ["a"]},
        "max_tokens": 5,
    }
    asked = parse(**shared, logprobs=True, top_logprobs=2).completion(100)
    given = parsing.parse_request({**ASK, **shared, "logprobs": 2}, Limits())
    assert dict(asked) == dict(given)
    assert parse(**shared).completion(100).logprobs is None
    assert parse(**shared, logprobs=True).completion(100).logprobs == 0


def test_a_prompt_ends_as_it_is_asked_to() -> None:
    for fields, ends in (
        ({}, (True, False)),
        ({"add_generation_prompt": False}, (False, False)),
        ({"messages": BEGUN, "continue_final_message": True}, (False, True)),
        ({"messages": BEGUN, "continue_final_message": True, "add_generation_prompt": None}, (False, True)),
        ({"messages": BEGUN, "continue_final_message": True, "add_generation_prompt": False}, (False, True)),
    ):
        (chat,) = parse(**fields).prompts
        assert (chat.add_generation_prompt, chat.continue_final_message) == ends
    assert refused(continue_final_message=True).param == "continue_final_message"
    both = refused(messages=BEGUN, continue_final_message=True, add_generation_prompt=True)
    assert both.param == "add_generation_prompt"


def test_a_servers_limits_are_kept() -> None:
    limits = Limits(max_logprobs=1, max_sequences=2)
    parse_chat({**ASK, "n": 2, "logprobs": True, "top_logprobs": 1}, limits)
    for fields, param in (({"n": 3}, "n"), ({"logprobs": True, "top_logprobs": 2}, "top_logprobs")):
        with pytest.raises(InvalidRequestError) as caught:
            parse_chat({**ASK, **fields}, limits)
        assert caught.value.param == param
