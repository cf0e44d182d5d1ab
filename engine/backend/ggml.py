"""Functions of ggml that llama_cpp's bindings leave out, although they load the library."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any, Final

from engine.backend.llama_log import lib

_BF16: Final = 30
"""The number of a type that the bindings forget."""


@cache
def ggml(name: str, result: Any, *arguments: Any) -> Any:
    """Return a function of ggml, by its name, with the types of its result and of its arguments."""
    function = getattr(lib.llama_cpp._lib, name)
    function.restype, function.argtypes = result, arguments
    return function


def type_name(number: int) -> str:
    """Return how ggml calls a type, such as ``q4_1``."""
    return str(ggml("ggml_type_name", ctypes.c_char_p, ctypes.c_int)(number).decode())


def type_number(name: str) -> int:
    """Return ggml's number for a type.

    Raises:
        KeyError: this llama.cpp has no such type.
    """
    return _numbers()[name.lower()]


@cache
def _numbers() -> dict[str, int]:
    known = {value for name, value in vars(lib).items() if name.startswith("GGML_TYPE_")}
    known -= {getattr(lib, "GGML_TYPE_COUNT", None)}  # ggml reads beyond its table for a type that is none
    return {type_name(number).lower(): number for number in known | {_BF16}}
