"""What a walk along the masks of a JSON schema writes is valid, and what is valid can be written."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis_jsonschema import from_schema

from engine.grammar.form import Form, GrammarError
from tests.grammar.walks import accepts, compiler, walk

NAMES = st.sampled_from(["a", "b", "x-1", 'q"', "é", "line\n"])
PATTERNS = st.sampled_from(["^[a-c]+$", "ab", "^x{2,4}", "[0-9]$", "^(yes|no)$", "^[^a-z]*$"])
SMALL = st.integers(0, 4)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-50, 50),
    st.sampled_from([0.5, -1.25, 1e15]),
    st.text('ab"\\é\n', max_size=4),
)


def schemas() -> st.SearchStrategy[dict[str, Any]]:
    return st.recursive(_plain(), _compound, max_leaves=6)


def _optional(**keywords: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=keywords)


def _with_type(kind: str, **keywords: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return _optional(**keywords).map(lambda found: {"type": kind} | found)


def _plain() -> st.SearchStrategy[dict[str, Any]]:
    numbers = st.integers(-30, 30)
    decimals = st.sampled_from([-7.5, -0.25, 0.0, 0.1, 3.75, 1e3])
    return st.one_of(
        st.sampled_from([{"type": "null"}, {"type": "boolean"}, {"type": ["string", "null"]}]),
        _with_type("integer", minimum=numbers, maximum=numbers, multipleOf=st.integers(1, 7)),
        _with_type("integer", exclusiveMinimum=numbers, exclusiveMaximum=decimals),
        _with_type("number", minimum=decimals, exclusiveMaximum=decimals),
        _with_type(
            "number", exclusiveMinimum=decimals, maximum=numbers, multipleOf=st.sampled_from([0.5, 0.25, 2])
        ),
        _with_type("string", minLength=SMALL, maxLength=SMALL),
        _with_type("string", pattern=PATTERNS, maxLength=SMALL),
        st.builds(lambda values: {"enum": values}, st.lists(VALUES, min_size=1, max_size=4)),
        st.builds(lambda value: {"const": value}, st.one_of(VALUES, st.lists(VALUES, max_size=2))),
    )


def _compound(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    either = inner | st.booleans()
    return st.one_of(
        _with_type("array", items=either, minItems=SMALL, maxItems=SMALL),
        _with_type(
            "array", prefixItems=st.lists(inner, min_size=1, max_size=2), items=either, minItems=SMALL
        ),
        _with_type(
            "object",
            properties=st.dictionaries(NAMES, inner, max_size=3),
            required=st.lists(NAMES, max_size=2, unique=True),
            additionalProperties=either,
        ),
        _with_type(
            "object", patternProperties=st.dictionaries(st.just("^x-"), inner), additionalProperties=either
        ),
        _with_type(
            "object", additionalProperties=either, minProperties=st.integers(0, 1), maxProperties=SMALL
        ),
        st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda options: {"oneOf": options}, st.lists(inner, min_size=1, max_size=2)),
        st.builds(lambda parts: {"allOf": parts}, st.lists(inner, min_size=1, max_size=2)),
        st.builds(
            lambda target: {"$defs": {"d": target}, "type": "array", "items": {"$ref": "#/$defs/d"}}, inner
        ),
    )


def compiled_or_skipped(schema: Any) -> Any:
    """Return a schema's matcher; one that is refused says so, and is of no use here."""
    try:
        return compiler().compile(Form("json_schema", json.dumps(schema)))
    except GrammarError:
        assume(False)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(schema=schemas(), seed=st.integers(0, 2**32 - 1))
def test_what_a_walk_writes_is_valid(schema: dict[str, Any], seed: int) -> None:
    matcher = compiled_or_skipped(schema)
    rng = np.random.default_rng(seed)
    for _ in range(3):
        text = walk(matcher.copy(), rng)
        if text is not None and "Infinity" not in json.dumps(value := json.loads(text)):
            assert jsonschema.Draft202012Validator(schema).is_valid(value), text


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
@pytest.mark.filterwarnings("ignore")
def test_what_is_valid_can_be_written(data: st.DataObject) -> None:
    schema = data.draw(_plain())
    assume(isinstance(schema.get("multipleOf", 1), int))  # of 0.25, a half is written 0.50 only
    matcher = compiled_or_skipped(schema)  # as `from_schema` fails for values that there are none of
    if data.draw(st.booleans()):
        schema = {"type": "array", "items": schema}
        matcher = compiled_or_skipped(schema)
    value = data.draw(from_schema(schema))
    text = json.dumps(value, ensure_ascii=False)
    assume(
        "\\u" not in text and "e" not in text.replace("true", "").replace("false", "") and "\x7f" not in text
    )
    if isinstance(value, float) or ".0" in text:
        assume(False)  # 1.0 is an integer too, and is written as 1
    assert accepts(matcher, text), text
