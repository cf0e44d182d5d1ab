"""How a request is refused: one sentence that names the field, the limit and the value."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from pydantic_core import PydanticCustomError

from engine.errors import InvalidRequestError

if TYPE_CHECKING:
    from pydantic import ValidationError

_SIZES = {
    "too_short": "should have at least {min_length} item(s)",
    "too_long": "should have at most {max_length} item(s)",
    "string_too_short": "should have at least {min_length} character(s)",
    "string_too_long": "should have at most {max_length} character(s)",
}


def contract_error(problem: str) -> PydanticCustomError:
    """Return what a validator of ours raises; a rule over several fields names its own, as ``n: ...``."""
    return PydanticCustomError("contract", "{problem}", {"problem": problem})


def to_invalid_request(error: ValidationError) -> InvalidRequestError:
    """Turn pydantic's first complaint into one sentence of ours."""
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"] if not isinstance(part, str) or _is_field_name(part)]
    name = f"{'.'.join(path):.80}"
    if first["type"] == "missing":
        return InvalidRequestError(f"'{name}' is required.", param=path[0])
    problem = first["msg"].removeprefix("Input ").removeprefix("Value ")
    if first["type"] in _SIZES:
        problem, size = _SIZES[first["type"]].format(**first["ctx"]), len(first["input"])
        return InvalidRequestError(f"'{name}' {problem}, not {size}.", param=path[0])
    if first["type"] == "contract":
        problem = first["ctx"]["problem"]
        if not path:  # a rule over several fields names its own
            name, _, problem = problem.partition(": ")
            return InvalidRequestError(f"'{name}' {problem}.", param=name)
        return InvalidRequestError(f"'{name}' {problem}.", param=path[0])
    return InvalidRequestError(f"'{name}' {problem}, not {abbreviate(first['input'])}.", param=path[0])


def _is_field_name(part: str) -> bool:
    """Tell a field from the tags that pydantic puts into the path of a union or a mapping."""
    return part.isidentifier()


def refuse(name: str, limit: str, value: object) -> NoReturn:
    """Refuse a field whose value is beyond a limit.

    Raises:
        InvalidRequestError: always.
    """
    raise InvalidRequestError(f"'{name}' {limit}, not {abbreviate(value)}.", param=name)


def abbreviate(value: object) -> str:
    """Show a value in an error's message, but never all of a long one."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) >= 1 << 64:
        return "an integer of more than 64 bits"
    shown = repr(value) if isinstance(value, str | int | float) else f"a value of type {type(value).__name__}"
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
