"""Writing a converted file, in a process of its own: ``python -m engine.tuning.conversion SOURCE TARGET …``.

llama.cpp's converter cannot be interrupted, and some of what it meets ends the process. A third
argument names a file with the types of all tensors by name, as JSON, and a fourth one the type of most.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.backend import lifeline
from engine.backend.ggml import type_number
from engine.backend.llama_log import lib, load_errors, start_library
from engine.loading.child import Child, interpreter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class ConversionError(RuntimeError):
    """A file could not be converted; the text says why."""


def is_possible() -> bool:
    """Return True if there is a Python to start."""
    return interpreter() is not None


def convert(
    source: Path,
    target: Path,
    types: Mapping[str, str],
    *,
    main_type: str,
    timeout_s: float,
    started: Callable[[Child], None],
) -> None:
    """Write a converted file, with as many threads as there are cores.

    Args:
        source: The original, which is only read; of a split one the first part.
        target: A file that does not exist; nothing is left there if this fails.
        types: The types of all tensors by name; what has its type already is copied.
        main_type: The type that the file is named after.
        timeout_s: How long it may take.
        started: Gets the process, so that another thread can end it.

    Raises:
        ConversionError: llama.cpp cannot convert it, or not in time.
        FileExistsError: there is something at the target.
    """
    python = interpreter()
    if python is None:
        raise ConversionError("there is no Python to start")
    os.close(os.open(target, os.O_CREAT | os.O_EXCL, 0o666))  # ours from here on
    listed = target.with_suffix(".json")
    try:
        listed.write_text(json.dumps(dict(types)))  # there are more than an argument may hold
        files = map(os.fspath, (source, target, listed))
        child = Child(python, "engine.tuning.conversion", *files, main_type)
        started(child)
        ended = child.wait(timeout_s)
        if ended.status:
            raise ConversionError(ended.reason)
    except TimeoutError as error:
        target.unlink(missing_ok=True)
        raise ConversionError(str(error)) from None
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    finally:
        listed.unlink(missing_ok=True)


def main() -> None:
    """Convert as the command line says; what llama.cpp complains of goes to standard error."""
    lifeline.watch()
    source, target, listed, main_type = sys.argv[1:]
    try:
        write(Path(source), Path(target), json.loads(Path(listed).read_bytes()), main_type)
    except ConversionError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


def write(source: Path, target: Path, types: Mapping[str, str], main_type: str) -> None:
    """Write a converted file in this process.

    Raises:
        ConversionError: llama.cpp cannot convert it.
    """
    start_library()
    params = lib.llama_model_quantize_default_params()
    params.ftype = _file_type(main_type)  # for the file's metadata: the type of each tensor is given
    params.allow_requantize = True
    overrides = params.tt_overrides = _overrides(types)
    with load_errors() as errors:
        status = lib.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(params))
    del overrides
    if status:
        raise ConversionError(errors.reason or "llama.cpp gives no reason")


def _file_type(main_type: str) -> int:
    """Return llama.cpp's number for a file of mostly one type; it has to be a quantized one."""
    name = f"LLAMA_FTYPE_MOSTLY_{main_type.upper()}"
    numbers = (getattr(lib, name + ending, None) for ending in ("", "_S"))
    return int(next((number for number in numbers if number is not None), lib.LLAMA_FTYPE_MOSTLY_Q8_0))


def _overrides(types: Mapping[str, str]) -> Any:
    """Return llama.cpp's list of patterns with types, which ends with one without a pattern."""
    overrides = (lib.llama_model_tensor_override * (len(types) + 1))()
    for override, (name, kind) in zip(overrides, types.items(), strict=False):
        override.pattern, override.type = f"^{re.escape(name)}$".encode(), type_number(kind)
    return overrides


if __name__ == "__main__":
    main()
