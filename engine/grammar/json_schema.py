"""JSON schemas: read, checked keyword by keyword, and weighed before they are compiled."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NoReturn

from engine.grammar.form import GrammarError
from engine.grammar.schema_keywords import IN_PLACE, NOTES, TYPES, checked, is_constraint, under
from engine.grammar.schema_refs import References
from engine.grammar.schema_weight import Alternatives, Weight

_MAX_DEPTH = 64
_MAX_CALLS = 150
"""Schemas within each other, through references too."""
_OF_ARRAYS = ("prefixItems", "items", "additionalItems")
_OF_OBJECTS = ("properties", "patternProperties", "additionalProperties")


def prepared(text: str, *, share: float = 1) -> str:
    """Return a schema that means the same, in keywords that the library supports.

    Args:
        text: The schema.
        share: How much of what a form may cost is left for it.

    Raises:
        GrammarError: It is no JSON schema, has an unsupported keyword, or is too large.

    Example:
        >>> prepared('{"type": "array", "uniqueItems": false}')
        '{"type": "array"}'
    """
    root = parsed(text)
    if root is True:
        root = {}
    if not isinstance(root, dict):
        raise GrammarError(
            "No value can match the schema 'false'." if root is False else "A schema must be a JSON object."
        )
    _Reader(root, share).read()
    return json.dumps(root)


def parsed(text: str) -> Any:
    """Return what a JSON text says.

    Raises:
        GrammarError: It is no JSON, says a name twice, or is nested too deeply.

    Example:
        >>> parsed('{"type": "string"}')
        {'type': 'string'}
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError:
        raise GrammarError("The JSON is nested too deeply.") from None
    except UnicodeEncodeError:
        raise GrammarError("The JSON has half of a surrogate pair.") from None
    except GrammarError:
        raise
    except json.JSONDecodeError as error:
        raise GrammarError(f"It is not valid JSON: {error}.") from None
    except ValueError:
        raise GrammarError("The JSON has a number that is none, or too large.") from None
    if _depth(value) > _MAX_DEPTH:
        raise GrammarError(f"The JSON is nested more than {_MAX_DEPTH} levels deep.")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise GrammarError(f"The name {twice[:80]!r} is twice in one JSON object.")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [
        child
        for each in level
        if isinstance(each, dict | list)
        for child in (each.values() if isinstance(each, dict) else each)
    ]:
        depth += 1
    return depth


class _Reader:
    """Goes through a schema in the library's order, as far as it would, and weighs what it would build."""

    def __init__(self, root: dict[str, Any], share: float) -> None:
        self._root = root
        self._draft = str(root.get("$schema", ""))
        self._references = References(root)
        self._weight = Weight(self._target, share)
        self._calls = 0
        self._targets: dict[str, Alternatives] = {}
        self._checked: dict[int, Any] = {}  # held, so that no other has its id

    def read(self) -> None:
        found = self._of(self._root, "")
        self._weight.add_up(found)
        for target in self._targets.values():
            self._weight.add_up(target)

    def _of(self, node: Any, path: str) -> Alternatives:
        if isinstance(node, bool):
            return None if node else []
        if not isinstance(node, dict):
            raise GrammarError("A schema must be an object or a boolean.", path)
        self._calls += 1
        if self._calls > _MAX_CALLS:
            raise GrammarError("Schemas are nested too deeply within each other.", path)
        if id(node) not in self._checked:
            checked(node, path, self._draft)
            self._checked[id(node)] = node
        found = self._alternatives(node, path)
        self._calls -= 1
        return found

    def _alternatives(self, node: dict[str, Any], path: str) -> Alternatives:
        found: Alternatives = None
        simple: dict[str, Any] = {}
        constrains = [word for word in node if is_constraint(word)]
        if constrains == ["$ref"]:
            return self._weight.reference(self._seen(node["$ref"], under(path, "$ref")))
        for word, value in node.items():
            if word in IN_PLACE:
                found = self._weight.meet(found, self._simple(simple, node, path))
                simple = {}
                found = self._applied(found, word, value, under(path, word))
            elif word not in NOTES and is_constraint(word):
                simple[word] = value
        return self._weight.meet(found, self._simple(simple, node, path))

    def _applied(self, found: Alternatives, word: str, value: Any, path: str) -> Alternatives:
        if word == "$ref":
            return self._weight.meet(found, self._target(self._seen(value, path)))
        if word == "const":
            return self._weight.meet(found, self._weight.values([value]))
        if not isinstance(value, list) or not value:
            raise GrammarError(f"{word!r} must be a list that is not empty.", path)
        if word == "enum":
            return self._weight.meet(found, self._weight.values(value))
        options = [self._of(option, under(path, i)) for i, option in enumerate(value)]
        if word == "allOf":
            for option in options:
                found = self._weight.meet(found, option)
            return found
        return self._weight.meet(found, self._weight.any_of(options))

    def _simple(self, simple: dict[str, Any], node: dict[str, Any], path: str) -> Alternatives:
        if not simple:
            return None
        kinds = node.get("type", TYPES)
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if not isinstance(kinds, list | tuple) or not all(kind in (*TYPES, "integer") for kind in kinds):
            raise GrammarError(
                f"'type' must be one or more of {', '.join(TYPES)} and integer.", under(path, "type")
            )
        parts: dict[str, dict[str, Alternatives]] = {"array": {}, "object": {}}
        for words, kind in ((_OF_ARRAYS, "array"), (_OF_OBJECTS, "object")):
            for word in words if kind in kinds else ():
                if word in simple:
                    parts[kind] |= self._children(simple[word], word, under(path, word))
        cost = simple.get("multipleOf", 0)
        return self._weight.kinds(kinds, parts, cost if isinstance(cost, int | float) else 0)

    def _children(self, value: Any, word: str, path: str) -> dict[str, Alternatives]:
        """Return what is below a keyword: one schema, a list of them, or some by name."""
        if isinstance(value, list):
            return {f"{i}": self._of(each, under(path, i)) for i, each in enumerate(value)}
        if word in ("properties", "patternProperties"):
            if not isinstance(value, dict):
                raise GrammarError(f"{word!r} must be an object.", path)
            return {f"{word[:2]}{name}": self._of(each, under(path, name)) for name, each in value.items()}
        return {word: self._of(value, path)}

    def _seen(self, reference: Any, path: str) -> str:
        """Go to what a reference names, if nothing has been there; return the reference."""
        if not isinstance(reference, str):
            raise GrammarError("A reference must be a string.", path)
        if reference not in self._targets:
            self._targets[reference] = None  # what a schema says of itself while it is read
            target, place = self._references.find(reference, path)
            self._targets[reference] = self._of(target, place)
        return reference

    def _target(self, reference: str) -> Alternatives:
        return self._targets[reference]
