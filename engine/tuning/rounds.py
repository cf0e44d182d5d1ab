"""Timing several candidates in turn: a machine is never as fast as it was a minute ago."""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from engine.tuning.candidate import Speed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from engine.tuning.bench import Bench

_ORIGINAL: Final = ""


class _Lap(NamedTuple):
    """Tokens per second of one candidate in one round."""

    decode: dict[int, float]
    prefill: float


class Rounds:
    """Rounds in which the original and others are timed; each is compared with the original of its round.

    Args:
        widths: Numbers of streams.
        n_prompt: Tokens of the prompt.
    """

    def __init__(self, widths: Sequence[int], n_prompt: int) -> None:
        self._widths, self._n_prompt = widths, n_prompt
        self._laps: dict[str, list[tuple[_Lap, _Lap]]] = defaultdict(list)
        self._originals: list[_Lap] = []

    def run(
        self,
        original: Bench,
        others: Mapping[str, Bench],
        check: Callable[[], None],
    ) -> None:
        """Time all of them once, in the other order than the round before."""
        order: list[tuple[str, Bench]] = [(_ORIGINAL, original), *others.items()]
        if len(self._originals) % 2:
            order.reverse()
        laps = {key: self._lap(bench, check) for key, bench in order}
        self._originals.append(laps[_ORIGINAL])
        for key in others:
            self._laps[key].append((laps[key], laps[_ORIGINAL]))

    def speed_of(self, key: str) -> Speed | None:
        """Return the medians of a candidate; None if it has never run."""
        return self._speed(self._laps[key]) if key in self._laps else None

    def speed_of_original(self) -> Speed:
        """Return the medians of the original over all rounds."""
        return self._speed([(lap, lap) for lap in self._originals])

    def unrest(self, width: int) -> float:
        """Return by what share the original itself differed between rounds, at one number of streams.

        It is the distance of the fastest round from the slowest one, in medians.
        """
        rates = [lap.decode[width] for lap in self._originals]
        return (max(rates) - min(rates)) / median(rates) if rates else 0.0

    def _lap(self, bench: Bench, check: Callable[[], None]) -> _Lap:
        decode = {}
        for width in self._widths:
            check()
            decode[width] = width / bench.decode_seconds(width, check)
        check()
        return _Lap(decode, self._n_prompt / bench.prefill_seconds(self._n_prompt))

    def _speed(self, laps: Sequence[tuple[_Lap, _Lap]]) -> Speed:
        gains = {
            width: [ours.decode[width] / theirs.decode[width] for ours, theirs in laps]
            for width in self._widths
        }
        prefill_gains = [ours.prefill / theirs.prefill for ours, theirs in laps]
        return Speed(
            decode={width: median(ours.decode[width] for ours, _ in laps) for width in self._widths},
            prefill=median(ours.prefill for ours, _ in laps),
            decode_gain={width: median(each) for width, each in gains.items()},
            prefill_gain=median(prefill_gains),
            n_rounds=len(laps),
            surely={width: _lower_quartile(each) for width, each in gains.items()},
            surely_prefill=_lower_quartile(prefill_gains),
        )


def _lower_quartile(values: Sequence[float]) -> float:
    return float(np.percentile(values, 25))
