"""Docstrings on the site: what they mark as a reference, or as typed at a prompt, becomes code."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

_REFERENCE = re.compile(r":\w+:`~?([^`]+)`")
_EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)
_PROMPTS = re.compile(r"(?:^(?:>>>|\.\.\.) .*\n?)+", re.MULTILINE)


class References(Extension):  # type: ignore[misc]
    """Turns ``:class:`LLM``` into code: the site reads docstrings as Markdown, which does not know roles."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:  # noqa: ARG002 - griffe's own names
        """Rewrite the docstring of an object."""
        if obj.docstring is not None:
            text = _EXAMPLE.sub("Examples:", _REFERENCE.sub(r"`\1`", obj.docstring.value))
            obj.docstring.value = _PROMPTS.sub(_fenced, text)


def _fenced(prompts: re.Match[str]) -> str:
    return f"```pycon\n{prompts[0].rstrip()}\n```\n"
