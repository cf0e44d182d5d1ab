"""Whether a model file can be loaded without harm: tried in a process of its own, once for each file.

No file may end the process that embeds us, whatever it makes llama.cpp do. Its metadata do not tell: a file
of a well-known architecture, too, can have a number that meets an assertion of llama.cpp, or a vocabulary
that lacks what a text needs. So every file is tried, and one that has passed is remembered by its place, size
and time; packaged models are ours and need no trial. The weights are mapped into memory: what the trial has
read is not read from the disk again, and the trial has ended before the model is loaded.
"""

from __future__ import annotations

import json
import logging
import os
from typing import TYPE_CHECKING, Final

from engine.errors import ModelLoadError
from engine.loading.child import Child, interpreter
from engine.models.notes import Note

if TYPE_CHECKING:
    from pathlib import Path

    from engine.models.names import ModelFile

log = logging.getLogger("nucleus.loading")

_PATIENCE_S: Final = 900
_RULES: Final = 1
"""To be raised with what a trial tries: files that passed an older one are tried again."""


def try_out(file: ModelFile) -> None:
    """Try a model file, unless it is a packaged one or has passed before.

    Raises:
        ModelLoadError: it cannot be loaded, or cannot generate text; it says why.
    """
    if file.source == "packaged" or _note(file.path).read() is not None:
        return
    python = interpreter()
    if python is None:
        log.warning("%s is not tried before it is loaded: there is no Python to start", file.path)
        return
    _rehearse(python, file.path)
    remember(file.path)


def remember(path: Path) -> None:
    """Note that a file has passed its trial."""
    _note(path).write()


def _note(path: Path) -> Note:
    return Note("tried", path, _RULES)


def _rehearse(python: str, path: Path) -> None:
    try:
        run = Child(python, "engine.backend.rehearsal", os.fspath(path)).wait(_PATIENCE_S)
    except TimeoutError as error:
        raise ModelLoadError(f"Loading {str(path)!r} on trial: {error}.") from None
    said = [{"begun": "is loaded"}, *map(json.loads, run.stdout.splitlines())]
    if "begun" in said[-1]:
        raise ModelLoadError(
            f"llama.cpp fails when {str(path)!r} {said[-1]['begun']}, and would have ended this process: "
            f"{run.reason}."
        )
    if "refused" in said[-1]:
        raise ModelLoadError(said[-1]["refused"], hint=said[-1]["hint"])
