"""What earlier starts have found out of a model's kernels: which widths of steps are batch-invariant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter, ValidationError

from engine.loading import hardware
from engine.loading.notes import Note
from engine.loading.packaged import cache_folder

if TYPE_CHECKING:
    from pathlib import Path

MOST_TOKENS: Final = 512
"""Tokens in one step; llama.cpp computes no larger piece at once by default."""
_KIND: Final = "widths"
_WIDTHS: Final = TypeAdapter(dict[int, bool])


def widths_note(path: Path, n_threads: int) -> Note:
    """Return the note about a file, for these threads and this processor."""
    from engine.backend.llama_model import kernels  # loads llama.cpp

    return Note(_KIND, path, kernels(), n_threads)


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

    widths = read_widths(widths_note(path, hardware.physical_cores()))
    if not widths:
        return None
    return not supports_gpu() and batch_invariance(widths, MOST_TOKENS).is_free
