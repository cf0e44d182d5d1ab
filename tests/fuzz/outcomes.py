"""What a reader of bytes may make of them: a value without traps, or an error that can be sent."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, TypeVar

from engine.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def outcome_of(read: Callable[[], T]) -> T | EngineError:
    """Return what is read, or the error that refuses it, which any door can send; let others through."""
    try:
        return read()
    except EngineError as error:
        _check_refusal(error)
        return error


def _check_refusal(error: EngineError) -> None:
    line = json.dumps(error.body(), ensure_ascii=False).encode()  # no lone surrogate
    assert len(line) < 1000
    assert "\n" not in str(error)
    assert error.http_status in (400, 413, 415)


def check_values(value: Any) -> None:
    """Check that nothing in a value is a number that is none, or a text that has no UTF-8."""
    json.dumps(value, ensure_ascii=False).encode()
    if isinstance(value, float):
        assert math.isfinite(value)
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        check_values(item)
