"""What earlier starts have found out of a model's kernels: which widths of steps are batch-invariant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter, ValidationError

from engine.loading.profiles import BATCH, default_settings
from engine.models.notes import Note
from engine.models.packaged import cache_folder

if TYPE_CHECKING:
    from pathlib import Path

    from engine.loading.profiles import RunSettings

_KIND: Final = "widths"
_WIDTHS: Final = TypeAdapter(dict[int, bool])


def widths_note(path: Path, run: RunSettings) -> Note:
    """Return the note about a file that is run so on this processor."""
    from engine.backend.llama_model import kernels  # loads llama.cpp

    return Note(_KIND, path, kernels(), run.threads, run.attention)


def read_widths(note: Note) -> dict[int, bool]:
    """Return for each width that was tried whether it is batch-invariant; nothing where nothing is noted."""
    try:
        return _WIDTHS.validate_json(note.read() or "{}")
    except ValidationError:  # half a note: they are tried again
        return {}


def known_invariance(path: Path) -> bool | None:
    """Return whether a seed repeats beside other requests, without padding; None before the first start.

    It is what a start of the model with the default options has found on this processor.
    """
    if not (cache_folder() / _KIND).is_dir():
        return None
    from engine.backend.llama_model import supports_gpu
    from engine.backend.probe import batch_invariance

    widths = read_widths(widths_note(path, default_settings()))
    if not widths:
        return None
    return not supports_gpu() and batch_invariance(widths, BATCH).is_free
