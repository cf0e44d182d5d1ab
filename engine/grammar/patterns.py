"""Patterns as JSON Schema writes them (ECMA-262), in the words of the library's regular expressions."""

from __future__ import annotations

import re

from engine.grammar.form import GrammarError

_ESCAPES = re.compile(
    r"\\(?:[dDwWsSnrtfv]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|u\{[0-9a-fA-F]+\}|[pP]\{[^}]*\}|[pP][A-Z])"
)
_LITERAL = re.compile(r"\\([^0-9A-Za-z])")
_CODED = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]+)\})")
_TOKENS = re.compile(rf"{_CODED.pattern}|\\.|\[\^?|.", re.DOTALL)
UNWRITABLE = frozenset(map(chr, {*range(0x20), 0x7F} - {*b"\b\t\n\f\r"}))
"""Characters that the library writes in no JSON string; it takes one alone for nothing at all."""
_IN_CLASS = frozenset("[&~")
"""Characters that mean more to the library inside of brackets."""


def check_pattern(pattern: str, path: str) -> str:
    r"""Return a pattern that means to the library what this one means in a schema.

    Raises:
        GrammarError: The pattern has something that means another thing there, or nothing.

    Example:
        >>> check_pattern(r"^[[&a]\<$", "")
        '^[\\[\\&a]<$'
    """
    written: list[str] = []
    in_class = False
    at = 0
    _check_writable(pattern, path)
    while at < len(pattern):
        letter = pattern[at]
        if letter == "\\":
            token = _escape(pattern, at, path)
            written.append(token if len(token) > 2 or token[1] not in "<>" else token[1])
            at += len(token)
            continue
        if in_class:
            if letter == "]":
                in_class = False
            elif pattern.startswith("--", at):
                raise GrammarError("In brackets, write one of two dashes as '\\-'.", path)
            written.append("\\" + letter if letter in _IN_CLASS else letter)
        else:
            if letter == "[":
                in_class = True
                if pattern.startswith(("[]", "[^]"), at):
                    raise GrammarError("Empty brackets are not supported.", path)
            elif pattern.startswith("(?", at) and not pattern.startswith(
                ("(?:", "(?<", "(?P<", "(?=", "(?!"), at
            ):
                raise GrammarError("Flags inside of a pattern are not supported.", path)
            written.append(letter)
        at += 1
        if in_class and written[-1] == "[" and pattern.startswith("^", at):
            written.append("^")
            at += 1
    return "".join(written)


def _check_writable(pattern: str, path: str) -> None:
    """Refuse a control character that stands alone, or alone in brackets; among others it is left out."""
    members: set[str] | None = None  # of the brackets that are open
    for found in _TOKENS.finditer(pattern):
        token = found[0]
        if members is None and token in ("[", "[^"):
            members = {*token[1:]}
        elif members is not None and token != "]":  # noqa: S105
            members.add(token)
        else:
            alone = {token} if members is None else members
            if len(alone) == 1 and _meant(*alone) in UNWRITABLE:
                raise GrammarError(f"The character {alone.pop()!r} cannot be written in JSON here.", path)
            members = None


def _meant(token: str) -> str:
    """Return the character that a token stands for, if it is one that is written as a code."""
    if found := _CODED.fullmatch(token):
        return chr(min(int(next(filter(None, found.groups())), 16), 0x10FFFF))
    return chr(11) if token == r"\v" else token  # noqa: S105


def _escape(pattern: str, at: int, path: str) -> str:
    found = _ESCAPES.match(pattern, at) or _LITERAL.match(pattern, at)
    if found is None:
        raise GrammarError(f"{pattern[at : at + 2]!r} is not supported in a pattern.", path)
    return found[0]
