"""The keywords of one JSON schema: those supported, those refused, and those that others can say."""

from __future__ import annotations

import math
from typing import Any

from engine.grammar.form import GrammarError
from engine.grammar.patterns import UNWRITABLE, check_pattern

Node = dict[str, Any]

TYPES = ("null", "boolean", "number", "string", "array", "object")
IN_PLACE = ("const", "enum", "allOf", "anyOf", "oneOf", "$ref")
"""Keywords that are met with the others of their schema one after the other."""
NOTES = frozenset(
    [
        "$anchor",
        "$comment",
        "$defs",
        "$id",
        "$schema",
        "contentEncoding",
        "contentMediaType",
        "default",
        "definitions",
        "deprecated",
        "description",
        "examples",
        "id",
        "readOnly",
        "title",
        "writeOnly",
    ]
)
"""Keywords that constrain nothing."""
_SUPPORTED = frozenset(
    [
        "additionalItems",
        "additionalProperties",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "multipleOf",
        "pattern",
        "patternProperties",
        "prefixItems",
        "properties",
        "required",
        "type",
    ]
).union(IN_PLACE)
_UNSUPPORTED = frozenset(
    [
        "$dynamicAnchor",
        "$dynamicRef",
        "$recursiveAnchor",
        "$recursiveRef",
        "contains",
        "contentSchema",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
        "disallow",
        "divisibleBy",
        "else",
        "extends",
        "if",
        "maxContains",
        "minContains",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
        "uniqueItems",
        "x-guidance",
    ]
)
"""Keywords that a draft of JSON Schema gives a meaning; words that none knows are notes, as it says."""
_FORMATS = frozenset(
    ["date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"]
)
_COUNTS = ("maxItems", "maxLength", "maxProperties", "minItems", "minLength", "minProperties")
_BOUNDS = {
    "minimum": math.inf,
    "exclusiveMinimum": math.inf,
    "maximum": -math.inf,
    "exclusiveMaximum": -math.inf,
}
"""Which way each is rounded, if it is no double."""
_LARGEST = 10**18 - 128
"""The largest double of 18 digits: the library's ranges of integers have no more."""
_NARROWER = 1e-9
_MAX_COUNT = 2**31
_MAX_PROPERTIES = 1000
_MAX_PATTERN_PROPERTIES = 64
_MAX_OPTIONAL = 40
"""Optional properties of which at least one must be there: the grammar has a copy of all for each."""
_OLD_DRAFTS = ("draft-04", "draft-06", "draft-07", "2019-09")


def is_constraint(word: str) -> bool:
    """Return True for a keyword that values are held to."""
    return word in _SUPPORTED


def checked(node: Node, path: str, draft: str) -> None:
    """Check the keywords of one schema, and rewrite it in place where others say the same.

    Args:
        node: The schema, without what is in its subschemas.
        path: Where it is.
        draft: What ``$schema`` says.

    Raises:
        GrammarError: A keyword is not supported, or its value is not.

    Example:
        >>> schema = {"type": "array", "uniqueItems": False, "maxItems": 3.0}
        >>> checked(schema, "", "")
        >>> schema
        {'type': 'array', 'maxItems': 3}
    """
    _simplify(node, draft)
    for word in node:
        if word in _UNSUPPORTED:
            raise GrammarError(f"The keyword {word!r} is not supported.", under(path, word))
    _check_numbers(node, path)
    _check_words(node, path)
    _check_arrays(node, path, draft)
    _check_objects(node, path)


def under(path: str, *words: str | int) -> str:
    """Return the path of something below another."""
    return ".".join([path, *map(str, words)] if path else map(str, words))


def _simplify(node: Node, draft: str) -> None:
    if node.get("uniqueItems") is False or ("uniqueItems" in node and _at_most_one_item(node)):
        del node["uniqueItems"]
    if node.get("propertyNames") in ({}, True, {"type": "string"}):
        del node["propertyNames"]
    if "draft-04" in draft and "const" in node and "enum" not in node:
        node["enum"] = [node.pop("const")]  # the draft has no const, and a schema of nothing else allows all
    if "not" in node:
        _simplify_not(node)
    if isinstance(node.get("oneOf"), list):
        node["oneOf"] = [_looked_into(option) for option in node["oneOf"]]


def _looked_into(option: Any) -> Any:
    """Return a reference with a keyword beside it, so that the library compares what it names with others."""
    is_reference = isinstance(option, dict) and [word for word in option if is_constraint(word)] == ["$ref"]
    return {"type": [*TYPES]} | option if is_reference else option


def _at_most_one_item(node: Node) -> bool:
    most = node.get("maxItems")
    kinds = node.get("type", "array")
    return (isinstance(most, int) and most <= 1) or "array" not in (
        [kinds] if isinstance(kinds, str) else kinds
    )


def _simplify_not(node: Node) -> None:
    excluded = node["not"]
    if excluded in ({}, True):
        instead: Any = False
    elif excluded is False:
        instead = True
    elif not isinstance(excluded, dict):
        return
    else:
        words = [word for word in excluded if word not in NOTES]
        if words == ["not"]:
            instead = excluded["not"]
        elif words == ["type"] and (types := _other_types(excluded["type"])):
            instead = {"type": types}
        else:
            return
    del node["not"]
    if not isinstance(node.get("allOf", []), list):
        return
    node["allOf"] = [*node.pop("allOf", []), instead]


def _other_types(excluded: Any) -> list[str]:
    """Return all other types, or none where a number may be excluded for being an integer."""
    words = [excluded] if isinstance(excluded, str) else excluded
    if not isinstance(words, list) or not all(word in TYPES for word in words):
        return []
    return [word for word in TYPES if word not in words]


def _check_numbers(node: Node, path: str) -> None:
    for word in _COUNTS:
        value = node.get(word)
        if isinstance(value, float) and value.is_integer():
            value = node[word] = int(value)
        if isinstance(value, int) and value >= _MAX_COUNT:
            raise GrammarError(f"{word!r} must be below {_MAX_COUNT}, but is {value}.", under(path, word))
    step = node.get("multipleOf", 1)
    if isinstance(step, bool) or not isinstance(step, int | float) or step <= 0:
        raise GrammarError("'multipleOf' must be a number above 0.", under(path, "multipleOf"))
    for exclusive, inclusive in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(node.get(exclusive), bool):  # what old drafts say of the other
            is_exclusive = node.pop(exclusive)
            if is_exclusive and inclusive in node:
                node[exclusive] = node.pop(inclusive)
    for word, direction in _BOUNDS.items():
        if isinstance(node.get(word), int | float) and not isinstance(node[word], bool):
            node[word] = _bound(node, word, direction, path)
    for word in ("const", "enum"):
        if word in node:
            _check_constants(node[word], under(path, word))


def _bound(node: Node, word: str, direction: float, path: str) -> int | float:
    """Return a bound as the library keeps it, or one a little narrower."""
    kinds = node.get("type", TYPES)
    kinds = [kinds] if isinstance(kinds, str) else kinds
    value: int | float = node[word]
    if abs(value) > _LARGEST:
        if (value > 0) == (direction > 0):
            raise GrammarError(f"{word!r} has more than 18 digits.", under(path, word))
        value = _LARGEST if value > 0 else -_LARGEST
    if float(value) != value:
        rounded = float(value)
        inward = rounded > value if direction > 0 else rounded < value
        value = rounded if inward else math.nextafter(rounded, direction)
    if word.startswith("exclusive") and "number" in kinds and value == int(value):
        # The library allows an exclusive whole number, if the other bound is less than one away.
        value += math.copysign(max(_NARROWER, 4 * math.ulp(value)), direction)
    return value


def _check_constants(value: Any, path: str) -> None:
    """Refuse what the library cannot write: numbers that are no double of up to 18 digits, and some texts."""
    todo = [value]
    while todo:
        each = todo.pop()
        if isinstance(each, dict):
            todo.extend(each.values())
        elif isinstance(each, list):
            todo.extend(each)
        elif isinstance(each, str) and not UNWRITABLE.isdisjoint(each):
            raise GrammarError("A text in it has a control character, which cannot be written here.", path)
        elif isinstance(each, int | float) and (abs(each) > _LARGEST or float(each) != each):
            raise GrammarError("A number in it has too many digits.", path)


def _check_words(node: Node, path: str) -> None:
    kinds = node.get("type", "string")
    is_text = "string" in ([kinds] if isinstance(kinds, str) else kinds)
    name = node.get("format")
    if is_text and isinstance(name, str) and name not in _FORMATS:
        raise GrammarError(f"The format {name!r} is not supported.", under(path, "format"))
    if isinstance(node.get("pattern"), str):
        node["pattern"] = check_pattern(node["pattern"], under(path, "pattern"))
    patterns = node.get("patternProperties")
    if isinstance(patterns, dict):
        node["patternProperties"] = {
            check_pattern(pattern, under(path, "patternProperties", pattern)): schema
            for pattern, schema in patterns.items()
        }


def _check_arrays(node: Node, path: str, draft: str) -> None:
    if "prefixItems" in node and ("additionalItems" in node or any(old in draft for old in _OLD_DRAFTS)):
        raise GrammarError("'prefixItems' is of a later draft than this schema.", under(path, "prefixItems"))
    if isinstance(node.get("items"), list) and "additionalItems" in node:
        rest = node.pop("additionalItems")  # both in one place, as they mean nothing without each other
        items = [*node.items()]
        node.clear()
        for word, value in items:
            node[word] = value
            if word == "items":
                node["additionalItems"] = rest


def _check_objects(node: Node, path: str) -> None:
    for word, most in (
        ("properties", _MAX_PROPERTIES),
        ("required", _MAX_PROPERTIES),
        ("patternProperties", _MAX_PATTERN_PROPERTIES),
    ):
        if isinstance(node.get(word), dict | list) and len(node[word]) > most:
            raise GrammarError(
                f"{word!r} has {len(node[word])} entries; at most {most} are supported.", under(path, word)
            )
    required = node.get("required", [])
    least = node.get("minProperties", 0)
    if not isinstance(required, list) or not isinstance(least, int):
        return
    if least - len(required) > 1:  # names that are not listed may be written twice
        raise GrammarError(
            "'minProperties' may be at most one more than there are required properties.",
            under(path, "minProperties"),
        )
    optional = len(node.get("properties", ())) - len(required)
    if least > len(required) and optional > _MAX_OPTIONAL:
        raise GrammarError(
            f"'minProperties' is supported with at most {_MAX_OPTIONAL} optional properties.",
            under(path, "minProperties"),
        )
