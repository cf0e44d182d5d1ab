"""The fields of a request as Python code gives them: keyword arguments."""

from __future__ import annotations

from typing import Any, TypedDict

PromptInput = str | list[str] | list[int] | list[list[int]]


class CompletionFields(TypedDict, total=False):
    """The fields of :class:`engine.contract.requests.CompletionRequest`; None means the default."""

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
    response_format: dict[str, Any] | None
    structured_outputs: dict[str, Any] | None
    grammar: str | None
    json_schema: dict[str, Any] | str | bool | None
    guided_json: dict[str, Any] | str | bool | None
    guided_regex: str | None
    guided_choice: list[str] | None
    guided_grammar: str | None
    guided_json_object: bool | None
