"""What the library says of a form that it cannot compile, in a sentence for the user who sent it."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

from llguidance import LLMatcher

from engine.grammar.form import GrammarError
from engine.grammar.schema_keywords import under

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.grammar.form import Form

_TOO_COMPLEX = "The form is too complex."
_PLAIN: tuple[tuple[str, str, str], ...] = (
    (r"NoExtension|no tokens allowed|Empty grammar", "No answer can have this form.", ""),
    (r"oneOf constraints", "'oneOf' is supported only where no value can match two of its schemas.", "oneOf"),
    (r"required property ('[^\n]*') is unsatisfiable", "No value can match the required property {}.", ""),
    (r"Unsatisfiable schema: ([^\n]+)", "No value can match the schema: {}.", ""),
    (
        r"not disjoint|are disjoint",
        "A name may match two of the patterns in 'patternProperties'.",
        "patternProperties",
    ),
    (
        r"min/maxProperties only",
        "'minProperties' and 'maxProperties' are supported only where all properties are required.",
        "",
    ),
    (r"circular references with sibling", "What refers to itself may have no keyword beside '$ref'.", ""),
    (r"determine if regex is empty", "The pattern, with the limits beside it, is too complex.", "pattern"),
    (r"regex parse error:[\s\S]*?error: ([^\n]+)", "The regular expression is wrong: {}.", "pattern"),
    (r"Failed to generate regex for (\w+) range", "The limits of this {} are not supported.", ""),
    (r"circular reference in token \"(\w+)\"", "The terminal {} refers to itself.", ""),
    (r"no start rule", "The grammar has no rule 'start'.", ""),
    (r"Unimplemented keys: \[\"([^\"]+)", "The keyword '{}' is not supported.", ""),
    (
        r"(?i)too (?:big|large|complex|many|deep)|fuel|precomputation|stack level|max is|panic",
        _TOO_COMPLEX,
        "",
    ),
    (r"^(?:at )?(\d+)\(\d+\): ([^\n]+)", "In line {} of the grammar: {}.", ""),
)
"""What the library says, the sentence for it, and the keyword that it is about, where it is about one."""
_SECONDS = 0.25
"""How long the place of a failure is looked for."""
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_MAPS = ("properties", "patternProperties")
_SINGLE = ("items", "additionalItems", "additionalProperties")


def explained(form: Form, grammar: str, said: str) -> GrammarError:
    """Return the error for a form.

    Args:
        form: What was asked for.
        grammar: The form in the library's words.
        said: What the library said of it.

    Example:
        >>> from engine.grammar.form import Form
        >>> explained(Form("lark", "a: b"), "a: b", "no start rule found").message
        "The grammar has no rule 'start'."
    """
    message, keyword = _plain(said)
    has_place = form.kind == "json_schema" and message != _TOO_COMPLEX
    path = _place(json.loads(grammar), message, keyword) if has_place else ""
    return GrammarError(message, path)


def _plain(said: str) -> tuple[str, str]:
    """Return one sentence for what the library said, and the keyword that it is about."""
    for pattern, sentence, keyword in _PLAIN:
        if found := re.search(pattern, said):
            words = [group.strip().rstrip(".")[:200] for group in found.groups()]
            return sentence.format(*words), keyword
    return f"The form is not supported: {said.splitlines()[0][:200] if said else 'no reason is known'}.", ""


def _place(grammar: Any, message: str, keyword: str) -> str:
    """Return where in a schema the smallest one is that fails alike by itself."""
    root = grammar["grammars"][0]["json_schema"]
    shared = {
        word: root[word] for word in ("$schema", "$id", "$defs", "definitions", "x-guidance") if word in root
    }
    until = time.monotonic() + _SECONDS
    path, node, seen = "", root, {id(root)}
    found = True
    while found:
        found = False
        for below, child in _children(node, path, root):
            if id(child) in seen or time.monotonic() > until:
                continue
            seen.add(id(child))
            said = LLMatcher.validate_grammar(json.dumps({"grammars": [{"json_schema": child | shared}]}))
            if said and _plain(said)[0] == message:
                path, node, found = below, child, True
                break
    return under(path, keyword) if keyword in node else path


def _children(node: dict[str, Any], path: str, root: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the schemas below a schema, with their paths."""
    found: list[tuple[str, Any]] = []
    for word in _LISTS:
        if isinstance(node.get(word), list):
            found += [(under(path, word, i), child) for i, child in enumerate(node[word])]
    for word in _MAPS:
        if isinstance(node.get(word), dict):
            found += [(under(path, word, name), child) for name, child in node[word].items()]
    found += [(under(path, word), node[word]) for word in _SINGLE if word in node]
    reference = node.get("$ref")
    if isinstance(reference, str) and reference.startswith(("#/$defs/", "#/definitions/")):
        word, _, name = reference[2:].partition("/")
        found.append((under("", word, name), root.get(word, {}).get(name)))
    for below, child in found:
        if isinstance(child, dict):
            yield below, child
