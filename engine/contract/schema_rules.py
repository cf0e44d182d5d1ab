"""What pydantic cannot see of our validators, added to the JSON schemas by hand."""

from __future__ import annotations

from typing import Any


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
    fields = schema["properties"]
    other = "Another name of `repetition_penalty`, which counts where both are given."
    fields["repeat_penalty"] = fields["repetition_penalty"] | {"description": other}
    allow_nulls(schema)
    null = {"type": "null"}
    schema["description"] = (
        "What to complete, and how. In every field that is not required, null means the default; unknown "
        "fields are ignored, but for those of `patternProperties`. Some rules hold between fields: exactly "
        "one of `prompt` and `messages` is given; `max_tokens` is 0 only with `echo`; `min_tokens` is at "
        "most `max_tokens`; `best_of` is at least `n`, and no more in a stream; `stream_options` is only "
        "given with `stream`; `suffix` goes with `prompt` and without `echo`; at most one field asks for a "
        "form of the answer."
    )
    schema["allOf"] = [
        {"oneOf": [{"properties": {"prompt": null}}, {"properties": {"messages": null}}]},
        {"anyOf": [{"properties": {"max_tokens": {"not": {"const": 0}}}}, _with("echo")]},
        {"anyOf": [{"properties": {"stream_options": null}}, _with("stream")]},
        {
            "anyOf": [
                {"properties": {"suffix": {"enum": ["", None]}}},
                {"properties": {"messages": null, "echo": {"not": {"const": True}}}},
            ]
        },
    ]


def _with(flag: str) -> dict[str, Any]:
    return {"properties": {flag: {"const": True}}, "required": [flag]}
