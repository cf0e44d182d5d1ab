"""Errors say in a sentence what is wrong, and where in the schema."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.grammar.walks import refusal


def _within(schema: Any, *names: str) -> Any:
    """Return a schema as that of a property in a property."""
    for name in reversed(names):
        schema = {"type": "object", "properties": {name: schema}}
    return schema


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        (_within({"uniqueItems": True}, "tags"), "properties.tags.uniqueItems"),
        (_within({"not": {"minimum": 1}}, "a", "b"), "properties.a.properties.b.not"),
        ({"type": "array", "items": {"contains": {}}}, "items.contains"),
        ({"allOf": [{}, {"if": {}, "then": False}]}, "allOf.1.if"),
        (_within({"type": "string", "format": "idn-email"}, "mail"), "properties.mail.format"),
        (_within({"multipleOf": 0}, "age"), "properties.age.multipleOf"),
        (_within({"type": "integer", "minimum": 10**18}, "n"), "properties.n.minimum"),
        (_within({"pattern": "(?=a)"}, "p"), "properties.p.pattern"),
        (_within({"pattern": "\\bword"}, "p"), "properties.p.pattern"),
        (_within({"pattern": "(a"}, "p"), "properties.p.pattern"),
        ({"patternProperties": {"[]": {}}}, "patternProperties.[]"),
        (_within({"patternProperties": {"a": {}, "b": {}}}, "m"), "properties.m.patternProperties"),
        (_within({"oneOf": [{"minimum": 1}, {"maximum": 3}]}, "x"), "properties.x.oneOf"),
        (
            {"type": "array", "items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"dependencies": {"a": ["b"]}}}},
            "$defs.n.dependencies",
        ),
        (
            {
                "items": {"$ref": "#/$defs/n"},
                "$defs": {"n": _within({"oneOf": [{"minLength": 1}, {"maxLength": 3}]}, "x")},
            },
            "$defs.n.properties.x.oneOf",
        ),
        (_within({"$ref": "https://example.com/schema"}, "r"), "properties.r.$ref"),
        (_within({"$ref": "#/$defs/missing"}, "r"), "properties.r.$ref"),
        (_within({"type": "strin"}, "t"), "properties.t.type"),
        (_within({"enum": []}, "e"), "properties.e.enum"),
        (_within({"enum": [1, 2**63]}, "e"), "properties.e.enum"),
        (_within({"const": [1e20]}, "e"), "properties.e.const"),
        (_within({"const": [{"a": "b\0"}]}, "e"), "properties.e.const"),
        (_within({"enum": ["a", "b\x7f"]}, "e"), "properties.e.enum"),
        (_within({"pattern": "^a\\x00b$"}, "p"), "properties.p.pattern"),
        (_within({"pattern": "a\x1f?"}, "p"), "properties.p.pattern"),
        (_within({"pattern": "[\\v]"}, "p"), "properties.p.pattern"),
        ({"patternProperties": {"^\x01": {}}}, "patternProperties.^\x01"),
        (_within({"minimum": 1e300}, "n"), "properties.n.minimum"),
        (_within({"maxLength": 2**31}, "s"), "properties.s.maxLength"),
        (_within({"minProperties": 2, "type": "object"}, "m"), "properties.m.minProperties"),
        (_within({"prefixItems": [{}], "additionalItems": False}, "p"), "properties.p.prefixItems"),
        ({"items": {"x-guidance": {"lenient": True}}}, "items.x-guidance"),
        ({"x-guidance": {"lenient": True, "coerce_one_of": True}}, "x-guidance"),
        ({"items": 5}, "items"),
        ({"properties": {"a": 5}}, "properties.a"),
        (_within({"unevaluatedProperties": False}, "u"), "properties.u.unevaluatedProperties"),
    ],
)
def test_an_error_of_a_schema_names_its_place(schema: Any, path: str) -> None:
    error = refusal("json_schema", json.dumps(schema))
    assert error.path == path
    assert error.message == str(error)
    assert error.message.endswith(".")
    assert "\n" not in error.message
    assert "guidance" not in error.message.replace("'x-guidance'", "")


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("json_schema", "{", "not valid JSON"),
        ("json_schema", "", "not valid JSON"),
        ("json_schema", "[]", "must be a JSON object"),
        ("json_schema", "false", "No value can match"),
        ("json_schema", '{"not": {}}', "No value can match"),
        ("json_schema", '{"type": "object", "properties": {"a": false}, "required": ["a"]}', "property 'a'"),
        ("json_schema", '{"const": "a", "enum": [1]}', "No value can match"),
        ("json_schema", '{"$ref": "#"}', "No answer can have this form"),
        ("json_schema", '{"a": 1, "a": 2}', "'a' is twice"),
        ("json_schema", '{"const": NaN}', "a number that is none"),
        ("json_schema", '{"minimum": 1e999}', "a number that is none, or too large"),
        ("json_schema", '{"const": "\\ud800"}', "half of a surrogate pair"),
        ("choice", "[]", "one or more strings"),
        ("choice", '["a", 1]', "one or more strings"),
        ("choice", '["\\ud800"]', "half of a surrogate pair"),
        ("regex", "(", "unclosed group"),
        ("regex", "(?<=a)b", "look-around"),
        ("regex", r"a\1", "backreferences are not supported"),
        ("regex", "[^\\s\\S]", "No answer can have this form"),
        ("regex", "\ud800", "half of a surrogate pair"),
        ("regex", "(?-u:\\xff)", "invalid UTF-8"),
        ("lark", "", "No answer can have this form"),
        ("lark", 'a: "b"', "no rule 'start'"),
        ("lark", "start: start", "No answer can have this form"),
        ("lark", "start: A\nA: A", "The terminal A refers to itself"),
        ("lark", "start: b", "line 1"),
        ("lark", 'start: "a" <|end|>', "line 1 of the grammar: tokens are not supported"),
        ("lark", "start: <[*]>", "tokens are not supported"),
        ("lark", 'start: a\na[temperature=2]: "x"', "line 2 of the grammar: rules with attributes"),
        ("lark", 'start: a\na[stop="x", max_tokens=3]: /.*/', "rules with attributes"),
        ("lark", "start: A & B", "'&' is not supported"),
        ("lark", 'start: A\nA: ~"a"', "'~' is supported only"),
        ("lark", 'start: %json {"x-guidance": {"lenient": true}}', "'x-guidance' is not supported"),
        ("lark", 'start: %json {"not": {"minimum": 1}}', "'not' is not supported"),
        ("lark", 'start: %regex {"substring_chars": "abc"}', "%regex is not supported"),
        ("lark", '%llguidance {"no_forcing": true}\nstart: "a"', "options of %llguidance"),
        ("lark", 'start: "a', "a text is not closed"),
        ("lark", "start: @other", "other grammars"),
        ("lark", "start: a{b}", "line 1"),
        ("gbnf", 'a ::= "b"', "no rule 'root'"),
        ("gbnf", "root ::= a", "'root' uses 'a', which is not defined"),
        ("gbnf", 'root ::= "a', "line 1, column 12 of the grammar: a quote or a bracket is not closed"),
        ("gbnf", 'root ::= "\\q"', "this escape is not known"),
        ("gbnf", 'root ::= "\\ud800"', "no such character"),
        ("gbnf", "root ::= [b-a]", "wrong way round"),
        ("gbnf", "root ::= []", "brackets are empty"),
        ("gbnf", 'root ::= ("a"', "')' is missing"),
        (
            "gbnf",
            'root ::= "a"\nroot ::= "b"',
            "line 2, column 9 of the grammar: the rule 'root' is defined twice",
        ),
        ("gbnf", 'root ::= "a"{3,2}', "the lower number first"),
        ("gbnf", "root ::= <token>", "tokens are not supported"),
        ("gbnf", "root = a", "'::=' is missing"),
        ("gbnf", "root ::= root", "No answer can have this form"),
    ],
)
def test_an_error_says_what_is_wrong(kind: str, text: str, message: str) -> None:
    error = refusal(kind, text)
    assert message in error.message
    assert "\n" not in error.message
    assert len(error.message) < 300
