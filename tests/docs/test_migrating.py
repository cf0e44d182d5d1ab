"""`docs/migrating.md` says what becomes of others' fields; each is tried, and their own code is read."""

from __future__ import annotations

import json
import re
from typing import Any, get_type_hints

import pytest
from llama_cpp.server.types import CreateChatCompletionRequest, CreateCompletionRequest
from openai.types.chat.completion_create_params import CompletionCreateParamsBase as OpenAIChat
from openai.types.completion_create_params import CompletionCreateParamsBase as OpenAICompletion

from engine.contract.chat import ChatRequest
from engine.contract.limits import Limits
from engine.contract.parsing import parse_chat, parse_request
from engine.contract.requests import CompletionRequest
from engine.errors import InvalidRequestError
from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs" / "migrating.md").read_text(encoding="utf-8")
_MESSAGES = [{"role": "user", "content": "Hi"}]
_SCHEMA = {"type": "object"}
_TOOL = {"type": "function", "function": {"name": "f"}}
VALUES: dict[str, Any] = {
    **dict.fromkeys(("best_of", "n", "n_cmpl"), 2),
    **dict.fromkeys(("cache_prompt", "echo", "ignore_eos", "parallel_tool_calls"), True),
    **dict.fromkeys(("dry_multiplier", "dynatemp_range", "min_p", "temperature"), 0.5),
    **dict.fromkeys(("function_call", "tool_choice"), "required"),
    **dict.fromkeys(("id_slot", "min_keep", "min_tokens", "n_indent", "n_keep", "n_predict"), 2),
    **dict.fromkeys(("max_completion_tokens", "max_tokens", "n_probs", "t_max_predict_ms", "top_k"), 3),
    **dict.fromkeys(("mirostat", "mirostat_mode"), 2),
    **dict.fromkeys(("mirostat_eta", "mirostat_tau", "top_p", "typical_p", "xtc_probability"), 0.2),
    **dict.fromkeys(("post_sampling_probs", "return_tokens", "store", "stream", "timings_per_token"), True),
    **dict.fromkeys(("presence_penalty", "frequency_penalty", "repeat_penalty"), 1.5),
    **dict.fromkeys(("prompt_cache_key", "prompt_cache_retention", "safety_identifier", "user"), "x"),
    **dict.fromkeys(("reasoning_effort", "service_tier", "verbosity"), "low"),
    "audio": {"voice": "x"},
    "functions": [_TOOL],
    "grammar": 'root ::= "a"',
    "json_schema": _SCHEMA,
    "logit_bias": {"7": -100},
    "logit_bias_type": "tokens",
    "logprobs": 2,
    "lora": [{"id": 0, "scale": 0.5}],
    "messages": _MESSAGES,
    "metadata": {"a": "b"},
    "modalities": ["text", "audio"],
    "model": "m",
    "moderation": {"model": "x"},
    "prediction": {"type": "content", "content": "x"},
    "prompt": "Hi",
    "prompt_cache_options": {"mode": "implicit"},
    "repeat_last_n": 32,
    "response_fields": ["content"],
    "response_format": {"type": "json_object", "schema": _SCHEMA},
    "samplers": ["top_k"],
    "seed": -1,
    "stop": ["\n"],
    "stream_options": {"include_usage": True, "include_obfuscation": True},
    "suffix": "there",
    "tools": [_TOOL],
    "top_logprobs": 2,
    "web_search_options": {"search_context_size": "low"},
}
"""A value of each field that asks for something."""
_WITH: dict[str, dict[str, Any]] = {
    "top_logprobs": {"logprobs": True},
    "stream_options": {"stream": True},
    "min_tokens": {"max_tokens": 16},
}
"""What some of them need beside them."""
ONLY_CHAT = {
    "messages",
    "functions",
    "function_call",
    "tools",
    "tool_choice",
    "top_logprobs",
    "response_format",
}


def tables(heading: str) -> list[list[dict[str, str]]]:
    """Return the tables of fields under a heading, each row by the names of its columns."""
    part = re.split(r"^## ", PAGE.partition(f"\n## {heading}\n")[2], flags=re.MULTILINE)[0]
    found = []
    for lines in re.findall(r"(?:^\|.*\n)+", part, re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines.splitlines()]
        names = ["field", *rows[0][1:]]
        if rows[0][0].startswith("field"):
            found.append([dict(zip(names, row, strict=True)) for row in rows[2:]])
    return found


PYTHON = {row["field"].strip("`"): row for row in tables("llama-cpp-python's server")[0]}
LLAMA = {row["field"].strip("`"): row for row in tables("llama.cpp's server")[0]}
COMPLETIONS, CHATS = ({row["field"].strip("`"): row for row in table} for table in tables("OpenAI"))
ROWS = [
    *((name, row["here"], name in ONLY_CHAT) for name, row in PYTHON.items()),
    *((name, row["here"], False) for name, row in LLAMA.items()),
    *((name, row["here"], False) for name, row in COMPLETIONS.items()),
    *((name, row["here"], True) for name, row in CHATS.items()),
]


def outcome(name: str, is_chat: bool) -> str:
    """Return what becomes of a field."""
    value = bool(VALUES[name]) if is_chat and name == "logprobs" else VALUES[name]
    fields = {"model": "m", **({"messages": _MESSAGES} if is_chat else {"prompt": "Hi"})}
    parse = parse_chat if is_chat else parse_request
    try:
        parse(fields | _WITH.get(name, {}) | {name: value}, Limits())
    except InvalidRequestError as error:
        return "refused" if error.param == name else str(error)
    known = ChatRequest if is_chat else CompletionRequest
    return "taken" if name in known.model_fields or name == "repeat_penalty" else "ignored"


@pytest.mark.parametrize(("name", "here", "is_chat"), ROWS)
def test_each_field_is_taken_refused_or_ignored_as_the_page_says(name: str, here: str, is_chat: bool) -> None:
    assert outcome(name, is_chat) == here


def test_openai_has_no_other_fields() -> None:
    assert set(COMPLETIONS) == set(get_type_hints(OpenAICompletion)) | {"stream"}
    assert set(CHATS) == set(get_type_hints(OpenAIChat)) | {"stream"}


def test_llama_cpp_python_has_these_fields_and_defaults() -> None:
    fields = CreateChatCompletionRequest.model_fields | CreateCompletionRequest.model_fields
    assert {name: row["default there"] for name, row in PYTHON.items()} == {
        name: f"`{json.dumps(field.default)}`" for name, field in fields.items()
    }
