"""What it costs to compile a JSON schema, counted without compiling it.

The library writes the alternatives of schemas that must hold together as the alternatives of one: two lists
of 200 values become 40,000 pairs. Its own limit allows that many, which takes seconds and half a gigabyte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from engine.grammar.form import GrammarError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_LIMIT = 300_000
"""Units of about 5 microseconds and 500 bytes."""
_PAIR_OF_LEAVES = 40
_LIMIT_OF_MULTIPLES = 100_000
_REFERENCE = "$ref"
_MAX_DEPTH = 128


class Alternative(NamedTuple):
    """One type of value that a schema allows, with the schemas of its parts."""

    kind: str
    parts: Mapping[str, Alternatives]
    size: int
    multiple: float = 0


Alternatives = list[Alternative] | None
"""What a schema allows; None is anything."""


class Weight:
    """Adds up what schemas cost.

    Args:
        target: Returns what a reference names.
        share: How much of the limit there is.
    """

    def __init__(self, target: Callable[[str], Alternatives], share: float = 1) -> None:
        self._target = target
        self._left = _LIMIT * share
        self._multiples_left = _LIMIT_OF_MULTIPLES * share

    def reference(self, name: str) -> Alternatives:
        """Return a reference that is followed only where it meets something."""
        return [Alternative(_REFERENCE, {name: None}, 1)]

    def values(self, values: Sequence[Any]) -> Alternatives:
        """Return constants."""
        self._spend(len(values))
        return [Alternative(_kind(value), {}, 1 + len(str(value)) // 20) for value in values]

    def any_of(self, options: Iterable[Alternatives]) -> Alternatives:
        """Return all alternatives of some schemas."""
        found: list[Alternative] = []
        for option in options:
            if option is None:
                return None
            found += option
        self._spend(len(found))
        return found

    def kinds(
        self, kinds: Iterable[str], parts: Mapping[str, Mapping[str, Alternatives]], multiple: float
    ) -> Alternatives:
        """Return an alternative for each type."""
        found = []
        for kind in kinds:
            within = parts.get(kind, {})
            size = 1 + sum(map(_size, within.values()))
            self._spend(1)
            found.append(Alternative("number" if kind == "integer" else kind, within, size, abs(multiple)))
        return found

    def meet(self, one: Alternatives, other: Alternatives, depth: int = 0) -> Alternatives:
        """Return what both allow, as the library would write it.

        Raises:
            GrammarError: There would be too much of it.
        """
        if one is None or other is None:
            return other if one is None else one
        if depth > _MAX_DEPTH:
            return []
        found: list[Alternative] = []
        for left in one:
            for right in other:
                self._spend(1 + (left.size + right.size) // 4)
                if _REFERENCE in (left.kind, right.kind):
                    met = self.meet(self._followed(left), self._followed(right), depth + 1)
                    found += [left, right] if met is None else met
                elif left.kind == right.kind:
                    found.append(self._merged(left, right, depth))
        return found

    def add_up(self, found: Alternatives) -> None:
        """Count a schema once more, as it is compiled."""
        for alternative in found or ():
            self._spend(1)
            self._multiples_left -= _digits(alternative.multiple)
            if self._multiples_left < 0:
                raise GrammarError("The numbers in 'multipleOf' are too large, or too many.")
            for part in alternative.parts.values():
                self.add_up(part)

    def _merged(self, left: Alternative, right: Alternative, depth: int) -> Alternative:
        if not left.parts and not right.parts:
            self._spend(_PAIR_OF_LEAVES if left.kind in ("string", "number") else 1)
        parts = dict(left.parts)
        for name, part in right.parts.items():
            parts[name] = self.meet(parts[name], part, depth + 1) if name in parts else part
        size = 1 + sum(map(_size, parts.values()))
        multiple = max(left.multiple, 1) * max(right.multiple, 1) if left.multiple or right.multiple else 0
        return Alternative(left.kind, parts, size, multiple)

    def _followed(self, alternative: Alternative) -> Alternatives:
        if alternative.kind != _REFERENCE:
            return [alternative]
        (name,) = alternative.parts
        return self._target(name)

    def _spend(self, units: int) -> None:
        self._left -= units
        if self._left < 0:
            raise GrammarError("The schema combines too many alternatives.")


def _size(found: Alternatives) -> int:
    return sum(alternative.size for alternative in found or ())


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case list():
            return "array"
        case dict():
            return "object"
    return "number"


def _digits(multiple: float) -> float:
    """Return a multiple without its decimal point, which is how many states it takes to divide by it."""
    if not multiple:
        return 0
    for _ in range(20):
        if multiple == int(multiple):
            return multiple
        multiple *= 10
    return multiple
