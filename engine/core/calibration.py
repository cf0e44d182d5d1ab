"""Measures what a step costs, before there is anything else to do."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.backend.base import BackendError, Batch, decode
from engine.backend.invariance import Padding
from engine.core.attention_cost import AttentionCost, AttentionCosts
from engine.core.step_cost import StepCost, prefill_sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from engine.backend.base import Backend

log = logging.getLogger("nucleus.calibration")

_DEEP_ENOUGH = 64
"""Tokens before a row whose price is above the noise."""
_GUESSES = 7
"""Guesses beside one decode whose price behind others is measured."""
_CHUNK = 64
"""Tokens of a prompt whose price behind others is measured."""
_COMPARED = (1, 4)
"""Decodes of the steps that show how fast the machine is now."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What steps of a backend took, in seconds; it holds for the same model, machine and settings again."""

    decode: dict[int, float] = field(default_factory=dict)
    """Number of decodes -> a step of them."""
    prefill: dict[int, float] = field(default_factory=dict)
    """Tokens of a prompt -> a step of them."""
    depth: int = 0
    """Tokens before the rows that were measured behind others; 0: none were."""
    behind: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """What a row of a decode, a guess and a prompt takes for them."""

    def step_cost(self, backend: Backend, *, pace: float = 1.0) -> StepCost:
        """Return the curves.

        Args:
            backend: The model.
            pace: How much longer steps take now.
        """
        costs = [
            AttentionCost(each / max(self.depth, 1), self.depth, longest=backend.n_cells)
            for each in self.behind
        ]
        return StepCost(
            self.decode,
            self.prefill,
            max_decodes=_max_decodes(backend),
            max_tokens=backend.n_batch,
            attention=AttentionCosts(*costs),
            pace=pace,
        )

    def pace(self, backend: Backend) -> float:
        """Return how much longer steps take now, by a few of them; 1 where nothing was measured.

        Args:
            backend: The model; its slots are empty, and no other thread uses it.
        """
        widths = [width for width in _COMPARED if width in self.decode]
        stopwatch = _Stopwatch(backend)
        try:
            stopwatch.decodes(1)  # the first step reads the weights into memory
            ratios = [min(map(stopwatch.decodes, (width, width))) / self.decode[width] for width in widths]
        except BackendError as error:  # a completion will report it; loading goes on
            log.warning("a step could not be measured: %s", error)
            return 1.0
        return min(ratios, default=1.0)


def calibrate(backend: Backend, *, seconds: float) -> StepCost:
    """Measure a backend as :func:`measure` does, and return its curves."""
    return measure(backend, seconds=seconds).step_cost(backend)


def measure(backend: Backend, *, seconds: float) -> Measurement:
    """Measure steps of a backend whose slots are empty, and leave them so.

    Most of the time goes to decodes. What it does not suffice for is left to the steps to come. A backend
    that works with threads gets its own for each thread that uses it, so this may run in one that ends.

    Args:
        backend: The model; no other thread uses it.
        seconds: How long to measure, but for some widths that are measured twice; 0 for not at all.

    Returns:
        What was measured: nothing where there is no time, or a step fails.
    """
    if seconds <= 0:
        return Measurement()
    max_decodes = _max_decodes(backend)
    sizes = [size for size in prefill_sizes(backend.n_batch) if size <= backend.n_cells]
    stopwatch = _Stopwatch(backend)
    try:
        stopwatch.decodes(1)  # the first step reads the weights into memory
        began = time.perf_counter()
        decode = _measure(stopwatch.decodes, _by_use(max_decodes, backend.n_slots), began + 0.6 * seconds)
        prefill = _measure(stopwatch.prefill, sizes, began + 0.8 * seconds)
        widths = StepCost(decode, prefill, max_decodes=max_decodes, max_tokens=backend.n_batch).widths
        for width in {width for pair in widths.items() for width in pair if pair[0] != pair[1]}:
            decode[width] = min(decode[width], stopwatch.decodes(width))  # it was held up, perhaps
        return Measurement(decode, prefill, *stopwatch.attention(decode, prefill))
    except BackendError as error:  # a completion will report it; loading goes on
        log.warning("a step could not be measured: %s", error)
        return Measurement()


def _max_decodes(backend: Backend) -> int:
    return min(min(backend.n_slots, backend.n_cells) + backend.n_padding + backend.n_drafted, backend.n_batch)


def _measure(run: Callable[[int], float], sizes: Iterable[int], deadline: float) -> dict[int, float]:
    """Return the seconds of steps of growing sizes, as far as there is time; the first is always measured."""
    found: dict[int, float] = {}
    for size in sizes:
        expected = max(found.values(), default=0.0) * size / max(found, default=size)
        if not found or time.perf_counter() + expected < deadline:
            found[size] = run(size)
    return found


def _by_use(max_decodes: int, n_slots: int) -> list[int]:
    """Return all widths: the powers of two first, for which there may be time where it is short."""
    coarse = {width for width in (1, 2, 4, 8, 16, 32, 64, 128, n_slots) if width <= max_decodes}
    return [*sorted(coarse), *(width for width in range(1, max_decodes + 1) if width not in coarse)]


class _Stopwatch:
    """Takes single steps and times them."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._batch = Batch(backend.n_batch)

    def decodes(self, width: int) -> float:
        """Return the seconds of a step with so many decodes; those beyond the slots are padding."""
        count = min(width, self._backend.n_slots)
        padding = Padding(width - count, width - count)
        self._batch.fill([0] * count, [0] * count, range(count), [True] * count, padding=padding)
        return self._time(count)

    def prefill(self, count: int) -> float:
        """Return the seconds of a step with so many tokens of one prompt."""
        self._fill_prompt(count)
        return self._time(1)

    def attention(
        self, decode: dict[int, float], prefill: dict[int, float]
    ) -> tuple[int, tuple[float, float, float]]:
        """Return the ``depth`` and ``behind`` of a measurement: what rows take for the tokens before them.

        Args:
            decode: What steps of decodes took.
            prefill: What steps of a prompt took: the largest is computed again, to lie before some rows.
        """
        depth, longest = max(prefill), self._backend.n_cells
        chunk = max((size for size in prefill if size <= min(_CHUNK, longest - depth)), default=0)
        guesses = max(width for width in decode if width <= 1 + _GUESSES) - 1
        if depth < _DEEP_ENOUGH or not chunk or not self._backend.prefix_cache:
            return 0, (0.0, 0.0, 0.0)
        try:
            self._fill_prompt(depth)
            self._timed()
            of_one = min(self._behind(depth, 1) for _ in range(3)) - decode[1]
            of_chunk = self._behind(depth, chunk) - prefill[chunk]
            of_guesses = of_one
            if guesses and guesses < longest - depth:
                together = min(self._behind(depth, 1 + guesses, wants_all=True) for _ in range(2))
                of_guesses = (together - decode[1 + guesses] - of_one) / guesses
        finally:
            self._backend.truncate(0, 0)
        return depth, (max(of_one, 0.0), max(of_guesses, 0.0), max(of_chunk / chunk, 0.0))

    def _behind(self, depth: int, count: int, *, wants_all: bool = False) -> float:
        """Return the seconds of a step with so many tokens of a prompt behind its first ones."""
        self._fill_prompt(count, depth, wants_all=wants_all)
        try:
            return self._timed()
        finally:
            self._backend.truncate(0, depth)

    def _fill_prompt(self, count: int, start: int = 0, *, wants_all: bool = False) -> None:
        wants_logits = [wants_all] * (count - 1) + [True]
        self._batch.fill([0] * count, range(start, start + count), [0] * count, wants_logits)

    def _time(self, n_used: int) -> float:
        try:
            return self._timed()
        finally:
            for slot in range(n_used):
                self._backend.truncate(slot, 0)

    def _timed(self) -> float:
        began = time.perf_counter()
        decode(self._backend, self._batch)
        return time.perf_counter() - began
