"""Forms made to take long, to take much, or to end the process: run as a program, so that it ends alone.

Each was worse than its bounds for llguidance 1.9.1 by itself, or is close to them.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from engine.grammar.form import Form, GrammarError
from tests.grammar.walks import END, allowed, compiler

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.grammar.form import Kind

STACK = 1024 * 1024
"""Of the thread: an eighth of what Linux gives, and what is left on systems that give little."""
_STEPS = 20


def _chain(n: int, ref: Callable[[str], Any]) -> dict[str, Any]:
    """Return a schema of definitions that each use the next."""
    names = {f"d{i}": ref(f"#/$defs/d{i + 1}") for i in range(n)}
    return {"$ref": "#/$defs/d0", "$defs": names | {f"d{n}": {"type": "string"}}}


def _rules(n: int, first: str, rule: str, last: str) -> str:
    """Return a grammar of rules that each use the next; ``rule`` has their numbers."""
    return first + "".join(rule.format(i, i + 1) for i in range(n)) + last.format(n)


def _tree(name: str) -> dict[str, Any]:
    return _properties(1, lambda _: {"$ref": f"#/$defs/{name}"})


def _properties(n: int, schema: Callable[[int], Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {f"p{i}": schema(i) for i in range(n)}, **more}


def _any_of(n: int, name: str) -> dict[str, Any]:
    return {"anyOf": [{"properties": {f"{name}{i}": {"type": "string"}}} for i in range(n)]}


_LONG_ENUM = {"enum": [f"e{i}" for i in range(200)]}
_PATTERN = "^(foo|bar.{3,50}baz|.{4,60}q){2,50}$"

SCHEMAS: dict[str, Any] = {
    "pairs of values": {"allOf": [_LONG_ENUM, _LONG_ENUM]},
    "pairs of values in a property": {"allOf": [_properties(1, lambda _: _LONG_ENUM)] * 2},
    "pairs of alternatives": {
        "properties": {"a": {"enum": [f"e{i}" for i in range(2000)]}},
        "allOf": [_any_of(30, "p"), _any_of(30, "q")],
    },
    "references doubled": _chain(25, lambda ref: {"allOf": [{"$ref": ref}, {"$ref": ref}]}),
    "alternatives doubled": _chain(25, lambda ref: {"anyOf": [{"$ref": ref}, {"$ref": ref}], "minLength": 1}),
    "references into each other": _chain(900, lambda ref: {"items": {"$ref": ref}, "type": "array"}),
    "references with company": _chain(900, lambda ref: {"minLength": 1, "$ref": ref}),
    "trees that meet": {
        "allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}],
        "$defs": {"a": _tree("a"), "b": _tree("b")},
    },
    "a reference to itself": {"anyOf": [{"$ref": "#"}, {"type": "array", "items": {"$ref": "#"}}]},
    "a large multiple": {"type": "integer", "multipleOf": 99999989},
    "large multiples together": {"allOf": [{"multipleOf": step} for step in (65537, 65539, 0.001)]},
    "many multiples": _properties(100, lambda i: {"type": "integer", "multipleOf": 5003 + i}),
    "the smallest multiple": {"type": "number", "multipleOf": 5e-324},
    "one of many": _properties(400, lambda _: {}, additionalProperties=False, minProperties=1),
    "many properties": _properties(1000, lambda _: {"type": "object"}),
    "too many properties": _properties(1500, lambda _: {}),
    "many patterns": _properties(
        500, lambda i: {"type": "string", "pattern": f"{_PATTERN}|{i}", "maxLength": 100 + i}
    ),
    "many patterns of names": {"type": "object", "patternProperties": {f"^a{i}z.*b": {} for i in range(300)}},
    "values of their own": {
        **_properties(300, lambda i: {"$ref": "#/$defs/d", "properties": {f"p{i}": {"maxLength": i + 1}}}),
        "$defs": {"d": _properties(100, lambda _: {"type": "string"})},
    },
    "long counts": {
        "type": "array",
        "minItems": 10**6,
        "items": {"type": "string", "minLength": 10**6, "maxLength": 2**31 - 1},
    },
    "too long a text": {"const": "x" * 70_000},
    "a long text": {"const": "words and " * 5_000},
}
_NESTED = _rules(200, "start: r0\n", f"r{{}}: {'(' * 20}r{{}}{')' * 20}\n", 'r{}: "x"')
_TEXTS: dict[str, tuple[Kind, str]] = {
    "arrays in arrays": ("json_schema", '{"items":' * 7_000),
    "values in values": ("json_schema", '{"const":' + "[" * 5_000 + "]" * 5_000 + "}"),
    "groups in groups": ("regex", "(" * 20_000 + "a" + ")" * 20_000),
    "repeated repeats": ("regex", "((a{1,1000}){1,1000}){1,1000}"),
    "repeats of anything": ("regex", "(.{0,100}a){0,100}"),
    "repeats that run into each other": ("regex", "(?:a?){1000}a{1000}"),
    "letters of all languages": ("regex", r"(\p{L}|\p{N}|\p{S}){200}x"),
    "a choice of thousands": ("choice", json.dumps([f"{i:x}" * 3 for i in range(4000)])),
    "both of two": ("lark", "start: T\nT: /(.*a.{1000})*/ & /(.*b.{1000})*/"),
    "rules in rules": ("lark", _rules(2000, "start: r0\n", 'r{}: r{} "a"\n', 'r{}: "x"')),
    "tokens in tokens": ("lark", _rules(2000, "start: A0\n", 'A{}: A{} "a"\n', 'A{}: "x"')),
    "tokens doubled": ("lark", _rules(40, "start: A0\n", "A{0}: A{1} A{1}\n", 'A{}: "x"')),
    "brackets in rules": ("lark", _NESTED),
    "ambiguous": ("lark", 'start: s\ns: s s | s s s | /[a-z]/ | ""'),
    "rules of llama.cpp": ("gbnf", _rules(300, "root ::= r0\n", "r{} ::= ((((r{}))))\n", 'r{} ::= "x"')),
    "groups of llama.cpp": ("gbnf", "root ::= " + "(" * 5_000),
    "stars": ("gbnf", 'root ::= "a"' + "*" * 10_000),
    "a long text for llama.cpp": ("gbnf", f'root ::= "{"ab" * 8_000}"'),
    "long repeats": ("gbnf", 'root ::= (("a"{10000}){10000}){10000}'),
}


def forms() -> dict[str, Form]:
    """Return what is tried, by name."""
    return {name: Form("json_schema", json.dumps(schema)) for name, schema in SCHEMAS.items()} | {
        name: Form(kind, text) for name, (kind, text) in _TEXTS.items()
    }


def _try(form: Form) -> dict[str, float | str]:
    """Return what it cost to compile a form, and the dearest of its first steps."""
    cost: dict[str, float | str] = {"compile": 0.0, "step": 0.0, "said": ""}
    began = time.thread_time()
    try:
        matcher = compiler().compile(form)
        cost["compile"] = time.thread_time() - began
        rng = np.random.default_rng(1)
        for _ in range(_STEPS):
            began = time.thread_time()
            tokens = allowed(matcher)
            if matcher.is_done:
                break
            matcher.take(int(rng.choice(tokens[tokens != END])))
            cost["step"] = max(cast("float", cost["step"]), time.thread_time() - began)
    except GrammarError as error:
        cost["said"] = error.message
        cost["compile"] = cost["compile"] or time.thread_time() - began
    return cost


def _run() -> None:
    compiler()
    for name, form in forms().items():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        cost = _try(form)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(
            json.dumps(
                {"name": name, "grown": grown / (1024 * 1024 if sys.platform == "darwin" else 1024), **cost}
            ),
            flush=True,
        )


if __name__ == "__main__":
    threading.stack_size(STACK)
    runner = threading.Thread(target=_run)
    runner.start()
    runner.join()
