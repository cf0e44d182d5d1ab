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
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from engine.errors import ModelLoadError
from engine.loading.notes import Note

if TYPE_CHECKING:
    from pathlib import Path

    from engine.loading.models import ModelFile

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
    python = _interpreter()
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


def _interpreter() -> str | None:
    """Return a Python to start, or None: a program that embeds Python names itself as the executable."""
    if getattr(sys, "frozen", False):
        return None
    if os.path.basename(sys.executable or "").lower().startswith(("python", "pypy")):
        return sys.executable
    beside = os.path.join(sys.prefix, "bin", "python3")
    return beside if os.path.exists(beside) else None


def _rehearse(python: str, path: Path) -> None:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PYTHONWARNINGS": "ignore",
        "GGML_NO_BACKTRACE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    nothing, lifeline = os.pipe()  # the child ends when this process does, and the pipe with it
    try:
        run = subprocess.run(  # noqa: S603  (our own interpreter and module; the path is one argument)
            [python, "-m", "engine.backend.rehearsal", os.fspath(path)],
            env=environment,
            stdin=nothing,
            capture_output=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ModelLoadError(f"Loading {str(path)!r} on trial takes more than {_PATIENCE_S} s.") from None
    finally:
        os.close(nothing)
        os.close(lifeline)
    said = [{"begun": "is loaded"}, *map(json.loads, run.stdout.splitlines())]
    if "begun" in said[-1]:
        raise ModelLoadError(
            f"llama.cpp fails when {str(path)!r} {said[-1]['begun']}, and would have ended this process: "
            f"{_last_words(run.stderr) or _how_it_ended(run.returncode)}."
        )
    if "refused" in said[-1]:
        raise ModelLoadError(said[-1]["refused"], hint=said[-1]["hint"])


def _how_it_ended(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


def _last_words(stderr: bytes) -> str:
    """Return the last line of what a process has written, without the folder of llama.cpp's source."""
    lines = [line for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    return re.sub(r"^\S*/(?=\S+:\d+: )", "", lines[-1])[:300].strip(" .") if lines else ""
