"""The form that an answer must have, and what is wrong with one."""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["json_schema", "regex", "choice", "lark", "gbnf"]


class Form(NamedTuple):
    """A form of an answer, as a request gives it.

    Example:
        >>> Form("regex", "[0-9]{4}").kind
        'regex'
    """

    kind: Kind
    text: str
    """A JSON schema as JSON, its keys in order; a regular expression; a JSON list of strings; a grammar."""


class GrammarError(ValueError):
    """A form cannot be compiled, or an answer does not follow it.

    Args:
        message: One sentence for the user who sent the form.
        path: Where in the schema, as ``properties.age.multipleOf``; empty where it is not in one place.
    """

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.path = path
