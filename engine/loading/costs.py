"""What earlier starts have measured of a model's steps, so that later ones need not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter, ValidationError

from engine.core.calibration import Measurement, measure
from engine.models.notes import Note

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from engine.backend.base import Backend
    from engine.core.step_cost import StepCost

_KIND: Final = "costs"
_RULES: Final = 1
"""To be raised with what is measured, and how: older notes are forgotten."""
_MUCH_FASTER: Final = 0.8
"""Pace below which the machine was busy when it was measured."""
_MEASUREMENT: Final = TypeAdapter(Measurement)


def costs_note(path: Path, backend: Backend, settings: Mapping[str, object]) -> Note:
    """Return the note about the steps of a file.

    Args:
        path: The file.
        backend: The model, loaded from it.
        settings: What its speed depends on: the kernels, and how it is run.
    """
    shape = (backend.n_slots, backend.n_batch, backend.n_padding, backend.n_drafted, backend.prefix_cache)
    return Note(_KIND, path, _RULES, shape, min(backend.n_cells, 2 * backend.n_batch), dict(settings))


def remembered_cost(backend: Backend, note: Note, *, seconds: float) -> StepCost:
    """Return what steps cost, by an earlier start's measurement, or by one that is made and noted now.

    A few steps tell the pace of today. If they are much faster, the machine was busy at that time, and all is
    measured again. If they are slower, the machine is busy now, and the note stays.

    Args:
        backend: The model; its slots are empty, and no other thread uses it.
        note: Where the measurement is kept.
        seconds: How long to measure; 0 for not at all.
    """
    if seconds <= 0:
        return Measurement().step_cost(backend)
    known = _read(note)
    if known is not None and (pace := known.pace(backend)) >= _MUCH_FASTER:
        return known.step_cost(backend, pace=pace)
    measured = measure(backend, seconds=seconds)
    if measured.decode:
        note.write(_MEASUREMENT.dump_json(measured).decode())
    return measured.step_cost(backend)


def _read(note: Note) -> Measurement | None:
    """Return what is noted; None: nothing, half of it, or what no step can take."""
    try:
        known = _MEASUREMENT.validate_json(note.read() or "null")
    except ValidationError:
        return None
    curves = (known.decode, known.prefill)
    is_sound = all(size > 0 and 0 < taken < math.inf for curve in curves for size, taken in curve.items())
    is_sound = is_sound and known.depth >= 0 and all(0 <= taken < math.inf for taken in known.behind)
    return known if is_sound and 1 in known.decode else None
