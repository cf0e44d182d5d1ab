"""Sides that take turns, and the medians of their times."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.machine import Elsewhere
from benchmarks.sampler.goals import Line
from engine.sampling import KERNELS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from pytest_benchmark.fixture import BenchmarkFixture

    from benchmarks.sampler.sides import Nucleus, Side

OURS = "ours"
"""The side that pytest-benchmark times."""

_STRETCHES, _SHORTEST = 4, 5
"""The rounds are cut into so many stretches, of at least that many rounds; the calmest of them counts."""


@dataclass(frozen=True, slots=True)
class Race:
    """The times of several sides, of a round each in turn."""

    n_vocab: int
    seconds: dict[str, NDArray[np.float64]]
    """Side -> seconds ``[rounds, rows]``, or ``[rounds, 1]`` where all rows of a round were timed as one."""
    elsewhere: float | None
    """Processors that other programs, or other machines on this host, kept busy meanwhile."""

    @classmethod
    def run(cls, benchmark: BenchmarkFixture, ours: Nucleus, others: Mapping[str, Side], rounds: int) -> Race:
        """Let pytest-benchmark time our side, and each other side once before each of its rounds.

        Of the rounds those count that had most of the machine for themselves, whatever their times.
        """
        for side in (ours, *others.values()):
            side.time()  # to warm up
        seconds: dict[str, list[list[float]]] = {name: [] for name in others}
        length = max(_SHORTEST, ceil(rounds / _STRETCHES))
        watches: list[Elsewhere] = []
        busy: list[float | None] = []

        def others_first() -> None:
            if len(watches) % length == 0:
                busy.extend(watch.processors() for watch in watches[-length:][:1])
            watches.append(Elsewhere())
            for name, side in others.items():
                seconds[name].append(side.time())
            ours.prepare()

        benchmark.pedantic(ours.run, setup=others_first, rounds=rounds)  # type: ignore[no-untyped-call]
        busy.append(watches[len(busy) * length].processors())
        if benchmark.stats is None:  # run without --benchmark-enable: once, and untimed
            seconds[OURS] = [ours.time()]
        else:
            seconds[OURS] = [[of_all / ours.n_rows] for of_all in benchmark.stats.stats.data]
        calmest = min(range(len(busy)), key=lambda stretch: busy[stretch] or 0.0)
        counted = slice(calmest * length, (calmest + 1) * length)
        times = {name: np.array(each)[counted] for name, each in seconds.items()}
        race = cls(ours.n_vocab, times, busy[calmest])
        benchmark.extra_info |= {
            "n_vocab": race.n_vocab,
            "us_per_row": {name: race.microseconds(name) for name in race.seconds},
            "elsewhere": race.elsewhere,
        }
        return race

    def microseconds(self, side: str) -> float:
        """Return the median of the rounds' own medians of the rows."""
        return _microseconds(np.median(self.seconds[side], axis=1))

    def line(
        self, title: str, other: str, *, ours: str = OURS, kernels: str = KERNELS[0], mean: bool = False
    ) -> Line:
        """Compare two of the sides: their median rows, or the means of their rows."""
        of_rows = np.mean if mean else np.median
        own, others = (of_rows(self.seconds[side], axis=1) for side in (ours, other))
        return Line(
            title,
            self.n_vocab,
            kernels,
            ours=_microseconds(own),
            other=_microseconds(others),
            ratio=float(np.median(others / own)),
            elsewhere=self.elsewhere,
        )


def _microseconds(seconds: NDArray[np.float64]) -> float:
    return float(np.median(seconds)) * 1e6
