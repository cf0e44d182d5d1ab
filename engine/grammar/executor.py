"""The masks of several matchers at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llguidance import LLExecutor

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from engine.grammar.matcher import Matcher


class MaskExecutor:
    """Threads of llguidance that compute masks without the GIL.

    Args:
        n_threads: How many.
    """

    def __init__(self, n_threads: int) -> None:
        self._executor = LLExecutor(n_threads)

    def fill(self, jobs: Sequence[tuple[Matcher, int]], masks: NDArray[np.int32]) -> None:
        """Write each mask into a row of ``masks``, int32 ``[rows, words]``, a bit for a token."""
        if len(jobs) == 1:
            ((matcher, row),) = jobs
            matcher.fill(masks[row].ctypes.data, masks[row].nbytes)
        else:
            self._executor.unsafe_compute_mask_ptr(
                [(matcher.raw, row) for matcher, row in jobs], masks.ctypes.data, masks[0].nbytes, len(masks)
            )
