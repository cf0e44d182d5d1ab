"""How a request is refused: one sentence that names the field, the limit and the value."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from pydantic_core import PydanticCustomError

from engine.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

_SIZES = {
    "too_short": "should have at least {min_length} item(s)",
    "too_long": "should have at most {max_length} item(s)",
    "string_too_short": "should have at least {min_length} character(s)",
    "string_too_long": "should have at most {max_length} character(s)",
}


def contract_error(problem: str) -> PydanticCustomError:
    """Return the error that our validators raise; a rule over several fields names its own, as ``n: ...``."""
    return PydanticCustomError("contract", "{problem}", {"problem": problem})


def to_invalid_request(
    error: ValidationError,
    *,
    spell: Callable[[str], str] = repr,
    param: Callable[[str], str] = str,
    is_flat: bool = False,
) -> InvalidRequestError:
    """Return pydantic's first complaint as one sentence of ours.

    Args:
        error: What pydantic raised.
        spell: Returns how the sentence names a field: in quotes unless told otherwise.
        param: Returns how ``InvalidRequestError.param`` names it.
        is_flat: Whether no field has fields of its own. Then whatever follows a name in pydantic's path is a
            tag of a union, such as the ``int`` of ``int | "auto"``.
    """
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"] if not isinstance(part, str) or _is_field_name(part)]
    if is_flat and first["loc"]:
        path = [str(first["loc"][0])]
    name, problem = f"{'.'.join(path):.80}", _problem(first)
    if first["type"] == "contract" and not path:  # a rule over several fields names its own
        name, _, problem = problem.partition(": ")
        path = [name]
    return InvalidRequestError(f"{spell(name)} {problem}.", param=param(path[0]))


def _problem(first: ErrorDetails) -> str:
    """Return what is wrong with a field, with the limit and the value."""
    kind = first["type"]
    if kind == "missing":
        return "is required"
    if kind == "extra_forbidden":
        return "is unknown"
    if kind == "contract":
        return str(first["ctx"]["problem"])
    if kind in _SIZES:
        return f"{_SIZES[kind].format(**first['ctx'])}, not {len(first['input'])}"
    problem = first["msg"].removeprefix("Input ").removeprefix("Value ").removeprefix("String ")
    return f"{problem}, not {abbreviate(first['input'])}"


def _is_field_name(part: str) -> bool:
    """Return True for a field, False for a tag that pydantic puts into the path of a union or a mapping."""
    return part.isidentifier()


def refuse(name: str, limit: str, value: object) -> NoReturn:
    """Refuse a field whose value is beyond a limit.

    Raises:
        InvalidRequestError: always.
    """
    raise InvalidRequestError(f"'{name}' {limit}, not {abbreviate(value)}.", param=name)


def abbreviate(value: object) -> str:
    """Return a value as an error's message shows it, cut to 80 characters."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) >= 1 << 64:
        return "an integer of more than 64 bits"
    text = repr(value) if isinstance(value, str | int | float) else f"a value of type {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."
