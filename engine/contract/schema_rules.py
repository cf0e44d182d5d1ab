"""What pydantic cannot see of our validators, added to the JSON schemas by hand."""

from __future__ import annotations

from typing import Any, Final


def allow_nulls(schema: dict[str, Any]) -> None:
    """Add to a JSON schema that null means the default, as ``StrictModel`` takes it."""
    for name in schema["properties"].keys() - schema.get("required", ()):
        field = schema["properties"][name]
        if "$ref" in field:
            field["anyOf"] = [{"$ref": field.pop("$ref")}]
        if "const" in field:
            field["enum"] = [field.pop("const"), None]
        elif "type" in field:
            field["type"] = [field["type"], "null"]
        elif {"type": "null"} not in field["anyOf"]:
            field["anyOf"].append({"type": "null"})


def describe_rules(schema: dict[str, Any]) -> None:
    """Add to the JSON schema of a completion request the rules that hold between fields."""
    _describe(
        schema,
        "What to complete, and how.",
        "exactly one of `prompt` and `messages` is given; `max_tokens` is 0 only with `echo`; `min_tokens` "
        "is at most `max_tokens`; `best_of` is at least `n`, and no more in a stream; `stream_options` is "
        "only given with `stream`; `suffix` goes with `prompt` and without `echo`; `resume_token_ids` goes "
        "with one choice of one prompt, and without `echo`.",
    )
    schema["allOf"] = [
        {"oneOf": [{"properties": {"prompt": _NULL}}, {"properties": {"messages": _NULL}}]},
        {"anyOf": [{"properties": {"max_tokens": {"not": {"const": 0}}}}, _with("echo")]},
        _STREAM_OPTIONS,
        {
            "anyOf": [
                {"properties": {"suffix": {"enum": ["", None]}}},
                {"properties": {"messages": _NULL, "echo": {"not": {"const": True}}}},
            ]
        },
        _resuming(n=_ONE, best_of=_ONE, echo={"not": {"const": True}}, prompt={"not": _SEVERAL}),
    ]


def describe_chat_rules(schema: dict[str, Any]) -> None:
    """Add to the JSON schema of a request for a chat's next message the rules that hold between fields."""
    _describe(
        schema,
        "A chat to answer, and how.",
        "`max_tokens` and `max_completion_tokens` are equal where both are given; `min_tokens` is at most "
        "these; `stream_options` is only given with `stream`, and `top_logprobs` with `logprobs`; with "
        "`continue_final_message` the last message is of the role `assistant`, and `add_generation_prompt` "
        "is not true; `resume_token_ids` goes with one choice.",
    )
    schema["allOf"] = [
        _STREAM_OPTIONS,
        {"anyOf": [{"properties": {"top_logprobs": {"enum": [0, None]}}}, _with("logprobs")]},
        {
            "anyOf": [
                {"properties": {"continue_final_message": {"not": {"const": True}}}},
                {"properties": {"add_generation_prompt": {"not": {"const": True}}}},
            ]
        },
        _resuming(n=_ONE),
    ]


def _describe(schema: dict[str, Any], what: str, rules: str) -> None:
    fields = schema["properties"]
    other = "Another name of `repetition_penalty`, which counts where both are given."
    fields["repeat_penalty"] = fields["repetition_penalty"] | {"description": other}
    allow_nulls(schema)
    schema["description"] = (
        f"{what} In every field that is not required, null means the default; unknown fields are ignored, "
        f"but for those of `patternProperties`. Some rules hold between fields: at most one field asks for a "
        f"form of the answer; {rules}"
    )


def _with(flag: str) -> dict[str, Any]:
    return {"properties": {flag: {"const": True}}, "required": [flag]}


def _resuming(**others: dict[str, Any]) -> dict[str, Any]:
    """Say what other fields have to be where an answer is resumed."""
    return {
        "anyOf": [
            {"properties": {"resume_token_ids": {"anyOf": [_NULL, {"maxItems": 0}]}}},
            {"properties": others},
        ]
    }


_NULL: Final = {"type": "null"}
_ONE: Final = {"enum": [1, None]}
_SEVERAL: Final = {"type": "array", "minItems": 2, "items": {"type": ["string", "array"]}}
_STREAM_OPTIONS: Final = {"anyOf": [{"properties": {"stream_options": _NULL}}, _with("stream")]}
