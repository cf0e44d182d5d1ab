"""llama.cpp's grammars (GBNF) in the library's Lark.

A rule of GBNF may end after any character. The library's terminals are greedy: a literal or a token of
several characters takes all it can, and never gives back. So each character becomes a terminal of its own,
and every rule one of the parser. llguidance's own converter makes tokens of rules, and refuses texts that the
grammar allows.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple, NoReturn

from engine.grammar.form import GrammarError

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_REPEATED = re.compile(r"\{\s*(\d{1,9})\s*(?:(,)\s*(\d{1,9})?\s*)?\}")
_ESCAPED = re.compile(r'\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([tnr"\\\[\]]))')
_SHORT = {"t": "\t", "n": "\n", "r": "\r"}
_MAX_LENGTH = 16 * 1024
_MAX_DEPTH = 16
_MAX_REPEATED = 10_000


class _Rule(NamedTuple):
    body: str
    names: frozenset[str]


def gbnf_to_lark(text: str) -> str:
    """Return the Lark grammar of a GBNF grammar.

    Raises:
        GrammarError: It is not GBNF, or a rule is missing.

    Example:
        >>> print(gbnf_to_lark('root ::= "ab" [0-9]+'))
        start: r0
        r0: ("a" "b") /[0-9]/+
    """
    rules = _Parser(text).rules()
    if "root" not in rules:
        raise GrammarError("The grammar has no rule 'root'.")
    ids = {name: f"r{i}" for i, name in enumerate(sorted(rules, key=lambda name: name != "root"))}
    for name, rule in rules.items():
        missing = rule.names - ids.keys()
        if missing:
            raise GrammarError(f"The rule {name!r} uses {min(missing)!r}, which is not defined.")
    lines = [f"{ids[name]}: {_renamed(rules[name].body, ids)}" for name in ids]
    return "\n".join(["start: r0", *lines])


def _renamed(body: str, ids: dict[str, str]) -> str:
    return re.sub(r"\0([^\0]*)\0", lambda found: ids[found[1]], body)


class _Parser:
    """Reads a grammar; a name of a rule stands between two NULs until all rules are known."""

    def __init__(self, text: str) -> None:
        if len(text) > _MAX_LENGTH:
            raise GrammarError(f"A grammar in GBNF may have at most {_MAX_LENGTH} characters.")
        if "\0" in text:
            raise GrammarError("The grammar has a NUL.")
        self._text = text
        self._at = 0
        self._depth = 0
        self._names: set[str] = set()

    def rules(self) -> dict[str, _Rule]:
        found: dict[str, _Rule] = {}
        self._skip(newlines=True)
        while self._at < len(self._text):
            name = self._name()
            self._skip(newlines=False)
            if not self._takes("::="):
                self._fail("'::=' is missing here")
            if name in found:
                self._fail(f"the rule {name!r} is defined twice")
            self._names = set()
            self._skip(newlines=True)
            found[name] = _Rule(self._alternatives(), frozenset(self._names))
            if self._at < len(self._text) and self._text[self._at] not in "\r\n":
                self._fail("this does not belong here")
            self._skip(newlines=True)
        return found

    def _alternatives(self) -> str:
        alternatives = [self._sequence()]
        while self._bar():
            self._skip(newlines=True)
            alternatives.append(self._sequence())
        return " | ".join(alternatives)

    def _bar(self) -> bool:
        """Take a bar, which may stand on the next line."""
        before = self._at
        self._skip(newlines=True)
        if self._takes("|"):
            return True
        self._at = before
        return False

    def _sequence(self) -> str:
        items: list[str] = []
        while True:
            self._skip(newlines=self._depth > 0)
            item = self._item()
            if item is None:
                return " ".join(items) or '""'
            items.append(self._repeated(item))

    def _item(self) -> str | None:
        letter = self._text[self._at : self._at + 1]
        if letter == '"':
            return self._literal()
        if letter == "[":
            return self._class()
        if letter == "(":
            return self._group()
        if letter == ".":
            self._at += 1
            return r"/(?s:.)/"
        if letter == "<":
            self._fail("tokens are not supported")
        if _NAME.match(letter):
            name = self._name()
            self._names.add(name)
            return f"\0{name}\0"
        return None

    def _literal(self) -> str:
        self._at += 1
        letters: list[str] = []
        while not self._takes('"'):
            letters.append(json.dumps(self._letter(), ensure_ascii=False).replace("\x7f", r"\u007f"))
        if len(letters) == 1:
            return letters[0]
        return f"({' '.join(letters)})" if letters else '""'

    def _class(self) -> str:
        self._at += 1
        negated = "^" if self._takes("^") else ""
        ranges: list[str] = []
        while not self._takes("]"):
            first = last = self._letter()
            if self._text.startswith("-", self._at) and not self._text.startswith("-]", self._at):
                self._at += 1
                last = self._letter()
            if first > last:
                self._fail(f"the range {first}-{last} is the wrong way round")
            ranges.append(_code(first) if first == last else f"{_code(first)}-{_code(last)}")
        if not ranges:
            self._fail("the brackets are empty")
        return f"/[{negated}{''.join(ranges)}]/"

    def _group(self) -> str:
        self._at += 1
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            self._fail(f"groups are nested more than {_MAX_DEPTH} levels deep")
        inner = self._alternatives()
        self._skip(newlines=True)
        if not self._takes(")"):
            self._fail("')' is missing here")
        self._depth -= 1
        return f"({inner})"

    def _repeated(self, item: str) -> str:
        """Return an item with what says how often it comes; several of them multiply."""
        plain = item
        while True:
            self._skip(newlines=self._depth > 0)
            found = _REPEATED.match(self._text, self._at)
            if found:
                least = int(found[1])
                most = int(found[3]) if found[3] else None if found[2] else least
                if max(least, most or 0) > _MAX_REPEATED or (most is not None and most < least):
                    self._fail(f"it may be repeated up to {_MAX_REPEATED} times, the lower number first")
                self._at = found.end()
                suffix = f"{{{least},{'' if most is None else most}}}"
                item = '""' if most == 0 else (item if item is plain else f"({item})") + suffix
            elif self._text[self._at : self._at + 1] in ("*", "+", "?"):
                item = (item if item is plain else f"({item})") + self._text[self._at]
                self._at += 1
            else:
                return item

    def _letter(self) -> str:
        found = _ESCAPED.match(self._text, self._at)
        if found:
            self._at = found.end()
            code = next((group for group in found.groups()[:3] if group), None)
            if code is None:
                return _SHORT.get(found[4], found[4])
            if int(code, 16) > 0x10FFFF or 0xD800 <= int(code, 16) < 0xE000:
                self._fail("there is no such character")
            return chr(int(code, 16))
        letter = self._text[self._at : self._at + 1]
        if letter in ("", "\n", "\r"):
            self._fail("a quote or a bracket is not closed")
        if letter == "\\":
            self._fail("this escape is not known")
        self._at += 1
        return letter

    def _name(self) -> str:
        found = _NAME.match(self._text, self._at)
        if found is None:
            self._fail("a rule's name is missing here")
        self._at = found.end()
        return found[0]

    def _takes(self, word: str) -> bool:
        taken = self._text.startswith(word, self._at)
        self._at += len(word) * taken
        return taken

    def _skip(self, *, newlines: bool) -> None:
        """Skip spaces and comments."""
        spaces = " \t\r\n" if newlines else " \t"
        while True:
            letter = self._text[self._at : self._at + 1]
            if letter == "#":
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            elif letter and letter in spaces:
                self._at += 1
            else:
                return

    def _fail(self, why: str) -> NoReturn:
        line = self._text.count("\n", 0, self._at) + 1
        column = self._at - (self._text.rfind("\n", 0, self._at) + 1) + 1
        raise GrammarError(f"In line {line}, column {column} of the grammar: {why}.")


def _code(letter: str) -> str:
    return f"\\x{{{ord(letter):x}}}" if not (letter.isascii() and letter.isalnum()) else letter
