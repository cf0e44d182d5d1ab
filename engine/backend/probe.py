"""Finds out in which steps rows of logits do not depend on each other, by taking steps of each width.

The rows of a text are computed in whole blocks, and compared with those of steps of other widths. No kernel
of llama.cpp takes more than 16 rows at once, so widths up to twice as many show every remainder. A row may
come out the same by chance; that all of them do for all multiples of a unit is no chance.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import numpy as np

from engine.backend.base import BackendError, Batch, decode
from engine.backend.invariance import NEVER, WIDEST, BatchInvariance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from engine.backend.base import Backend

log = logging.getLogger("nucleus.llama")

_BLOCK: Final = 16
_TRIED: Final = 2 * _BLOCK
_UNITS: Final = (1, 2, 4, 8, _BLOCK)
_SECONDS: Final = 1.0
"""How long widths beyond a block are tried at one start, unless somebody asked for it; the next goes on."""


def try_widths(backend: Backend, tried: Mapping[int, bool], *, free_only: bool) -> dict[int, bool]:
    """Return for each width that was tried whether its rows are those of whole blocks.

    It runs in a thread of its own, which takes llama.cpp's threads with it when it ends. They would stay with
    the thread that makes the backend, and hold up those of the one that will use it: libgomp hardly lets
    threads spin where a process has more than there are processors.

    Args:
        backend: The model, with an empty slot 0.
        tried: What is known already.
        free_only: Whether to give up at the first width that differs.
    """
    with ThreadPoolExecutor(1) as thread:
        try:
            return thread.submit(_Probe(backend).run, tried, free_only=free_only).result()
        except BackendError as error:  # a completion will report it; loading goes on
            log.warning("the model's kernels could not be tried out: %s", error)
            return {}


def batch_invariance(tried: Mapping[int, bool], n_batch: int) -> BatchInvariance:
    """Return the cheapest rule that the widths follow.

    >>> batch_invariance({width: width % 4 == 0 for width in range(1, 33)}, 512)
    BatchInvariance(widest=63, least=4, unit=4)
    """
    if n_batch < _TRIED:
        return NEVER
    for unit in _UNITS:
        multiples = [width for width in tried if width % unit == 0]
        least = unit + max((width for width in multiples if not tried[width]), default=0)
        if multiples and least <= max(unit, _BLOCK // 2):
            return BatchInvariance(min(WIDEST, n_batch), least, unit)
    return NEVER


class _Probe:
    """Takes steps of one text."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._batch = Batch(_TRIED)
        self._tokens = [(100 + 7 * i) % backend.info.n_vocab for i in range(_TRIED)]

    def run(self, tried: Mapping[int, bool], *, free_only: bool) -> dict[int, bool]:
        found = dict(tried)
        pending = [width for width in range(1, _TRIED + 1) if width not in found]
        if not pending or (free_only and not all(found.values())):
            return found
        try:
            expected = self._reference()
            if expected is None:
                return dict.fromkeys(range(1, _TRIED + 1), False)
            deadline = time.perf_counter() + _SECONDS
            for width in pending:
                if free_only and width > _BLOCK and time.perf_counter() > deadline:
                    break
                found[width] = np.array_equal(self._rows(0, width), expected[:width])
                if free_only and not found[width]:
                    break
            return found
        finally:
            self._backend.truncate(0, 0)

    def _reference(self) -> NDArray[np.float32] | None:
        """Return the rows in blocks, or None: even there it matters which place a row has."""
        rows = np.concatenate([self._rows(0, _BLOCK), self._rows(_BLOCK, _TRIED)])
        first, last = _BLOCK // 2, _BLOCK // 2 + _BLOCK
        return rows if np.array_equal(self._rows(first, last), rows[first:last]) else None

    def _rows(self, start: int, end: int) -> NDArray[np.float32]:
        """Return the rows of some tokens in one step; those before them are in the cache."""
        self._backend.truncate(0, start)
        count = end - start
        self._batch.fill(self._tokens[start:end], range(start, end), [0] * count, [True] * count)
        return decode(self._backend, self._batch).copy()
