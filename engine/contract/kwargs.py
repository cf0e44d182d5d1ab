"""The fields of requests as Python code gives them: keyword arguments, of which None means the default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Required, TypedDict

PromptInput = str | list[str] | list[int] | list[list[int]]
MessagesInput = list[dict[str, Any]] | list[dict[str, str]]
OnePrompt = str | list[int] | Mapping[str, Any]
"""One of many prompts: a text, the ids of its tokens, or the fields of a request."""


class _SharedFields(TypedDict, total=False):
    model: str
    temperature: float | None
    top_p: float | None
    n: int | None
    stream: bool | None
    stream_options: dict[str, bool] | None
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
    ignore_eos: bool | None
    stop_token_ids: list[int] | None
    include_stop_str_in_output: bool | None
    return_token_ids: bool | None
    resume_token_ids: list[int] | None
    response_format: dict[str, Any] | None
    structured_outputs: dict[str, Any] | None
    grammar: str | None
    json_schema: dict[str, Any] | str | bool | None
    guided_json: dict[str, Any] | str | bool | None
    guided_regex: str | None
    guided_choice: list[str] | None
    guided_grammar: str | None
    guided_json_object: bool | None


class GenerateFields(_SharedFields, total=False):
    """What many requests have in common: all fields but the prompt."""

    max_tokens: int | None
    best_of: int | None
    logprobs: int | None
    echo: bool | None
    suffix: str | None


class CompletionFields(GenerateFields, total=False):
    """The fields of :class:`engine.contract.requests.CompletionRequest`."""

    prompt: PromptInput | None
    messages: MessagesInput | None


class ChatFields(_SharedFields, total=False):
    """The fields of :class:`engine.contract.chat.ChatRequest`."""

    messages: Required[MessagesInput]
    max_completion_tokens: int | None
    max_tokens: int | None
    logprobs: bool | None
    top_logprobs: int | None
    add_generation_prompt: bool | None
    continue_final_message: bool | None
