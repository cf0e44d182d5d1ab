"""What a page tells about requests: their JSON schemas as one server has them, and examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.contract.chat import ChatRequest
from engine.contract.requests import CompletionRequest, DetokenizeRequest, TokenizeRequest

if TYPE_CHECKING:
    from engine.contract.limits import Limits
    from engine.contract.responses import ModelCard


def request_schemas(limits: Limits, card: ModelCard, *, template: str) -> dict[str, Any]:
    """Return the JSON schemas of all requests by name, with the limits that one server and its model set.

    Args:
        limits: What the server allows.
        card: The model that it serves.
        template: What a reference looks like, with ``{model}`` in place of the name.
    """
    schemas: dict[str, Any] = {}
    for kind in (CompletionRequest, ChatRequest, TokenizeRequest, DetokenizeRequest):
        schema = kind.model_json_schema(ref_template=template)
        schemas |= schema.pop("$defs", {}) | {kind.__name__: schema}
    schemas["TokenId"]["maximum"] = card.n_vocab - 1
    for request in (CompletionRequest, ChatRequest):
        schema = schemas[request.__name__]
        schema["patternProperties"] = request.unsupported.pattern_properties()
        schema["properties"]["model"]["examples"] = [card.id]
        for name in schema["properties"].keys() & {"max_tokens", "max_completion_tokens", "min_tokens"}:
            _form(schema["properties"][name], {"type": "integer"})["maximum"] = card.max_model_len - 1
        schema["properties"]["resume_token_ids"]["maxItems"] = card.max_model_len
    fields = schemas["ChatRequest"]["properties"]
    fields["top_logprobs"]["maximum"] = limits.max_logprobs
    fields = schemas["CompletionRequest"]["properties"]
    _form(fields["logprobs"], {"type": "integer"})["maximum"] = limits.max_logprobs
    token = {"$ref": template.format(model="TokenId")}
    texts = _form(fields["prompt"], {"type": "array", "items": {"type": "string"}})
    tokens = _form(fields["prompt"], {"type": "array", "items": token})
    token_lists = _form(fields["prompt"], {"type": "array", "items": {"type": "array", "items": token}})
    texts["maxItems"] = token_lists["maxItems"] = limits.max_prompts
    tokens["maxItems"] = token_lists["items"]["maxItems"] = card.max_model_len
    return schemas


def _form(field: dict[str, Any], like: dict[str, Any]) -> dict[str, Any]:
    """Return the one form of a field, perhaps its only one, whose schema contains everything of ``like``."""
    (found,) = (form for form in field.get("anyOf", [field]) if _contains(form, like))
    form: dict[str, Any] = found
    return form


def _contains(schema: Any, like: Any) -> bool:
    if isinstance(like, dict):
        return isinstance(schema, dict) and all(_contains(schema.get(key), like[key]) for key in like)
    return bool(like in schema if isinstance(schema, list) else schema == like)


Examples = Mapping[str, tuple[str, Mapping[str, Any]]]
"""Requests that show what can be asked for: name to summary and fields, all but the model."""

EXAMPLES: Examples = {
    "text": ("Continue a text", {"prompt": "The capital of France is", "max_tokens": 16, "temperature": 0}),
    "choices": (
        "Several choices of several prompts, with log probabilities",
        {"prompt": ["Once upon a time", "天气非常好"], "n": 2, "max_tokens": 8, "logprobs": 1, "seed": 1},
    ),
    "tokens": ("Continue token ids", {"prompt": [9, 4, 27], "max_tokens": 8, "logit_bias": {"7": -100}}),
    "chat": (
        "Answer a chat, as a stream",
        {
            "messages": [{"role": "user", "content": "What is the capital of France?"}],
            "max_tokens": 16,
            "stop": ["\n\n"],
            "stream": True,
            "stream_options": {"include_usage": True},
        },
    ),
    "score": ("Score a text", {"prompt": "天气非常好", "max_tokens": 0, "echo": True, "logprobs": 0}),
}
CHAT_EXAMPLES: Examples = {
    "answer": (
        "Answer a chat",
        {
            "messages": [
                {"role": "system", "content": "You answer in one word."},
                {"role": "user", "content": "What is the capital of France?"},
            ],
            "max_completion_tokens": 16,
            "temperature": 0,
        },
    ),
    "stream": (
        "Two answers with log probabilities, as a stream",
        {
            "messages": [{"role": "user", "content": [{"type": "text", "text": "天气非常好"}]}],
            "max_completion_tokens": 8,
            "n": 2,
            "seed": 1,
            "logprobs": True,
            "top_logprobs": 2,
            "stream": True,
            "stream_options": {"include_usage": True},
        },
    ),
    "continue": (
        "Continue the last message",
        {
            "messages": [
                {"role": "user", "content": "What is the capital of France?"},
                {"role": "assistant", "content": "The capital of France is"},
            ],
            "continue_final_message": True,
            "max_completion_tokens": 8,
        },
    ),
}
