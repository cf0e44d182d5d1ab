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
_STEPS: Final = range(3, 17)
"""Fewest and most steps of one width; so many as take the original about half a second."""
_SECONDS: Final = 0.5
_PROMPTS: Final = 2
_Seconds = dict[str, list[float]]
"""The seconds of each candidate's steps, in the order in which they were taken."""


class _Lap(NamedTuple):
    """One candidate in one round: the median of its steps, and of what each is beside the original's."""

    decode: dict[int, float]
    """Tokens per second."""
    prefill: float
    decode_gain: dict[int, float]
    prefill_gain: float


class Rounds:
    """Rounds in which the original and others take turns step by step.

    What else a machine does comes and goes within seconds, and holds up neighbouring steps alike: so a step
    is compared with the original's step beside it.

    Args:
        widths: Numbers of streams.
        n_prompt: Tokens of the prompt.
    """

    def __init__(self, widths: Sequence[int], n_prompt: int) -> None:
        self._widths, self._n_prompt = widths, n_prompt
        self._laps: dict[str, list[_Lap]] = defaultdict(list)

    def run(self, original: Bench, others: Mapping[str, Bench], check: Callable[[], None]) -> None:
        """Time all of them once."""
        benches = {_ORIGINAL: original, **others}
        steps = {width: self._steps(width, benches, check) for width in self._widths}
        prompts = self._prompts(benches, check)
        for key in benches:
            decode = {width: width / median(seconds[key]) for width, seconds in steps.items()}
            gains = {width: _gain(seconds, key) for width, seconds in steps.items()}
            lap = _Lap(decode, self._n_prompt / median(prompts[key]), gains, _gain(prompts, key))
            self._laps[key].append(lap)

    def _steps(self, width: int, benches: Mapping[str, Bench], check: Callable[[], None]) -> _Seconds:
        """Return the seconds of steps of one width, of which the first is not counted."""
        seconds: _Seconds = {key: [] for key in benches}
        for bench in benches.values():
            check()
            bench.begin(width)
        try:
            first = {key: bench.step_seconds(width, 0) for key, bench in benches.items()}
            count = min(max(round(_SECONDS / first[_ORIGINAL]), _STEPS.start), _STEPS.stop)
            for step in range(1, count + 1):
                for key, bench in _in_turn(benches, step):
                    check()
                    seconds[key].append(bench.step_seconds(width, step))
        finally:
            for bench in benches.values():
                bench.end(width)
        return seconds

    def _prompts(self, benches: Mapping[str, Bench], check: Callable[[], None]) -> _Seconds:
        seconds: _Seconds = {key: [] for key in benches}
        for number in range(_PROMPTS):
            for key, bench in _in_turn(benches, number):
                check()
                seconds[key].append(bench.prefill_seconds(self._n_prompt))
        return seconds

    def speed_of(self, key: str) -> Speed | None:
        """Return the medians of a candidate; None if it has never run."""
        return self._speed(self._laps[key]) if key in self._laps else None

    def speed_of_original(self) -> Speed:
        """Return the medians of the original over all rounds."""
        return self._speed(self._laps[_ORIGINAL])

    def unrest(self, width: int) -> float:
        """Return by what share the original itself differed between rounds, at one number of streams.

        It is the distance of the fastest round from the slowest one, in medians.
        """
        rates = [lap.decode[width] for lap in self._laps[_ORIGINAL]]
        return (max(rates) - min(rates)) / median(rates) if rates else 0.0

    def _speed(self, laps: Sequence[_Lap]) -> Speed:
        return Speed(
            decode={width: median(lap.decode[width] for lap in laps) for width in self._widths},
            prefill=median(lap.prefill for lap in laps),
            decode_gain={width: median(lap.decode_gain[width] for lap in laps) for width in self._widths},
            prefill_gain=median(lap.prefill_gain for lap in laps),
            n_rounds=len(laps),
            surely={
                width: _lower_quartile([lap.decode_gain[width] for lap in laps]) for width in self._widths
            },
            surely_prefill=_lower_quartile([lap.prefill_gain for lap in laps]),
        )


def _in_turn(benches: Mapping[str, Bench], number: int) -> list[tuple[str, Bench]]:
    """Return all of them, in the other order than the time before."""
    return list(benches.items())[:: -1 if number % 2 else 1]


def _gain(seconds: _Seconds, key: str) -> float:
    """Return how fast one is beside the original: the median of the steps that lie beside each other."""
    pairs = zip(seconds[_ORIGINAL], seconds[key], strict=True)
    return median(theirs / ours for theirs, ours in pairs)


def _lower_quartile(values: Sequence[float]) -> float:
    return float(np.percentile(values, 25))
