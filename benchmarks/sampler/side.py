"""What takes turns in a comparison."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from benchmarks.sampler.material import Material


class Side(Protocol):
    """One way of working on all the rows."""

    def time(self) -> list[float]:
        """Work on every row once; return seconds a row: one number for each of them, or one for all."""


class RowByRow:
    """A Python function of one row, timed for each of the rows."""

    def __init__(self, material: Material, function: Callable[[NDArray[np.float32]], object]) -> None:
        self._material = material
        self._function = function

    def time(self) -> list[float]:
        """Return the seconds of every row."""
        self._material.touch()
        return [self._seconds(row) for row in self._material.logits]

    def _seconds(self, row: NDArray[np.float32]) -> float:
        start = perf_counter()
        self._function(row)
        return perf_counter() - start


class OneRead:
    """The floor under every sampler: numpy's vectorised maximum of each row, in one call for all of them.

    Like our own side it is one call, so next to nothing of a call from Python is in the time of a row.
    """

    def __init__(self, material: Material) -> None:
        self._material = material

    def time(self) -> list[float]:
        """Return the mean seconds of a row."""
        self._material.touch()
        start = perf_counter()
        self._material.logits.max(axis=1)
        return [(perf_counter() - start) / len(self._material.logits)]
