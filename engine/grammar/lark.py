"""Lark grammars: what is refused of them before they are compiled."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from engine.grammar.form import GrammarError
from engine.grammar.json_schema import parsed, prepared

_WORDS = re.compile(
    r'(?P<text>"(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2})|[^"\\\x00-\x1f\x7f])*"i?)'
    r"|(?P<comment>(?:#|//)[^\n]*)"
    r"|(?P<regex>/(?:\\.|[^/\\])+/[imslux]*)"
    r"|(?P<space>[ \t\r]+)"
    r"|(?P<newline>\n)"
    r"|(?P<directive>%[a-z]+)"
    r"|(?P<name>[!?]?[A-Za-z_][A-Za-z0-9_-]*)"
    r"|(?P<number>[+-]?[0-9]+(?:\.[0-9]*)?)"
    r"|(?P<other>->|[][(){}:,.|+*?~=])"
)
_DIRECTIVES = frozenset(["%ignore", "%import", "%declare", "%json", "%llguidance"])
_MAX_RULES = 300
_MAX_LEVELS = 600
"""Levels of brackets in all rules together, for a rule may use every other one inside of its own.

A level takes a kilobyte of the stack, which no error but the end of the process says."""
_OPEN, _CLOSED = frozenset("([{"), frozenset(")]}")
_LETTERS = {
    '"': "a text is not closed",
    "/": "a regular expression is not closed",
    "<": "tokens are not supported",
    "&": "'&' is not supported",
    "@": "other grammars are not supported",
}
"""What is wrong where a letter begins nothing that is known."""


def checked_lark(text: str, options: dict[str, Any]) -> str:
    """Return a grammar whose JSON schemas are prepared, and which can be compiled in bounded time.

    Args:
        text: The grammar.
        options: How answers write JSON.

    Raises:
        GrammarError: It uses what is not supported, or is too large.

    Example:
        >>> checked_lark('start: "a" | "b"', {})
        'start: "a" | "b"'
    """
    return _Scanner(text, options).scan()


class _Scanner:
    """Goes through a grammar word by word, and counts its rules and the brackets in them."""

    def __init__(self, text: str, options: dict[str, Any]) -> None:
        self._text = text
        self._options = options
        self._share = 1 / max(1, text.count("%json"))
        self._at = 0
        self._rules = self._levels = self._depth = self._deepest = 0
        self._before_colon = True

    def scan(self) -> str:
        written: list[str] = []
        while self._at < len(self._text):
            found = _WORDS.match(self._text, self._at)
            if found is None:
                letter = self._text[self._at]
                self._fail(_LETTERS.get(letter, f"{letter!r} does not belong here"))
            self._at = found.end()
            written.append(found[0])
            if found.lastgroup == "directive":
                written.append(self._directive(found[0]))
            elif found.lastgroup == "newline":
                self._before_colon |= not self._depth
            elif found.lastgroup == "other":
                self._sign(found[0])
            if self._rules > _MAX_RULES or self._levels + self._deepest > _MAX_LEVELS:
                raise GrammarError(
                    f"The grammar has more than {_MAX_RULES} rules, or too many brackets in them."
                )
        return "".join(written)

    def _directive(self, word: str) -> str:
        self._before_colon = False
        if word not in _DIRECTIVES:
            self._fail(f"{word} is not supported")
        return self._json(word) if word in ("%json", "%llguidance") else ""

    def _sign(self, word: str) -> None:
        if word in _OPEN:
            if self._before_colon and word in "[{":
                self._fail("rules with attributes or parameters are not supported")
            self._depth += 1
            self._deepest = max(self._deepest, self._depth)
        elif word in _CLOSED:
            self._depth -= 1
        elif word == ":":
            if not self._before_colon:
                self._fail("a rule must begin on a line of its own")
            self._rules += 1
            self._levels += self._deepest + 1
            self._depth = self._deepest = 0
            self._before_colon = False
        elif word == "|":
            self._before_colon = False
        elif word == "~" and not self._text[self._at :].lstrip(" \t")[:1].isdigit():
            self._fail("'~' is supported only between an item and how often it comes")

    def _json(self, word: str) -> str:
        """Take the JSON behind a directive; return what is written for it."""
        begin = self._at
        try:
            _, self._at = json.JSONDecoder().raw_decode(self._text, begin + self._space())
        except (ValueError, RecursionError):
            self._fail(f"behind {word}, JSON is missing or wrong")
        raw = self._text[begin : self._at]
        if word == "%llguidance":
            if parsed(raw) != {}:
                self._fail("options of %llguidance are not supported")
            return " {}"
        return " " + json.dumps(json.loads(prepared(raw, share=self._share)) | {"x-guidance": self._options})

    def _space(self) -> int:
        rest = self._text[self._at :]
        return len(rest) - len(rest.lstrip(" \t\r\n"))

    def _fail(self, why: str) -> NoReturn:
        line = self._text.count("\n", 0, self._at) + 1
        raise GrammarError(f"In line {line} of the grammar: {why}.")
