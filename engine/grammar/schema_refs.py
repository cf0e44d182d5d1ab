"""What a reference of a JSON schema names, inside of the schema."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from engine.grammar.form import GrammarError


class References:
    """The places of one schema document.

    Example:
        >>> References({"$defs": {"name": {"type": "string"}}}).find("#/$defs/name", "")
        ({'type': 'string'}, '$defs.name')
    """

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        own = root.get("$id", root.get("id", ""))
        self._base = own.split("#")[0] if isinstance(own, str) else ""
        self._anchors = _anchors(root)

    def find(self, reference: str, path: str) -> tuple[Any, str]:
        """Return a schema and its path.

        Raises:
            GrammarError: The reference leads out of the document, or to nothing.
        """
        base, _, fragment = reference.partition("#")
        if base not in ("", self._base):
            raise GrammarError("Only references inside of the schema are supported, as '#/$defs/name'.", path)
        fragment = unquote(fragment)
        if fragment and not fragment.startswith("/"):
            if fragment not in self._anchors:
                raise GrammarError(f"There is no {reference[:80]!r} in the schema.", path)
            return self._anchors[fragment]
        words = [word.replace("~1", "/").replace("~0", "~") for word in fragment.split("/")[1:]]
        found: Any = self._root
        for word in words:
            if isinstance(found, dict) and word in found:
                found = found[word]
            elif isinstance(found, list) and word.isascii() and word.isdigit() and int(word) < len(found):
                found = found[int(word)]
            else:
                raise GrammarError(f"There is no {reference[:80]!r} in the schema.", path)
        return found, ".".join(words)


def _anchors(root: dict[str, Any]) -> dict[str, tuple[Any, str]]:
    """Return what has a name of its own, as drafts write it in turn."""
    found: dict[str, tuple[Any, str]] = {}
    todo: list[tuple[Any, str]] = [(root, "")]
    while todo:
        node, path = todo.pop()
        entries = (
            node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        )
        if isinstance(node, dict):
            for word in ("$anchor", "$id", "id"):
                name = node.get(word)
                if isinstance(name, str) and (word == "$anchor" or name.startswith("#")):
                    found.setdefault(name.removeprefix("#"), (node, path))
        todo.extend((value, f"{path}.{key}" if path else str(key)) for key, value in entries)
    return found
