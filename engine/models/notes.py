"""What is remembered of model files from one start to the next, in the cache folder."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
from typing import TYPE_CHECKING, Final

from engine.models.packaged import cache_folder

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger("nucleus.models")

_REMEMBERED: Final = 256
"""Notes of one kind that are kept; of more, the oldest are forgotten."""


class Note:
    """A note about a model file as it is now, for the llama.cpp that is installed.

    Args:
        kind: What is noted, the name of a folder.
        path: The model file; its place, size and time stand for what is in it.
        circumstances: What else the note depends on.
    """

    def __init__(self, kind: str, path: Path, *circumstances: object) -> None:
        stat = path.stat()
        build = importlib.metadata.version("llama-cpp-python")
        file = [str(path.resolve()), stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns]
        digest = hashlib.sha256(json.dumps([*file, build, *circumstances]).encode()).hexdigest()
        self._file = cache_folder() / kind / digest

    def read(self) -> str | None:
        """Return what was written, or None."""
        try:
            return self._file.read_text()
        except (OSError, UnicodeDecodeError):
            return None

    def write(self, text: str = "") -> None:
        """Remember a text; where that is impossible, it will be found out again, and nothing else."""
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(text)
            notes = sorted(self._file.parent.iterdir(), key=lambda note: note.stat().st_mtime, reverse=True)
            for old in notes[_REMEMBERED:]:
                old.unlink()
        except OSError as error:
            log.info("a note about a model file cannot be kept: %s", error)
