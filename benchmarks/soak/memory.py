"""What the samples say about memory: whether it grows, and how fast."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean, linear_regression
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.soak.sample import Sample

_LONGEST_WARM_UP = 300.0  # seconds
_WARM_UP_SHARE = 1 / 6  # of a run that is shorter than six times that
_MOST_MIB, _MOST_SHARE = 8.0, 0.02


@dataclass(frozen=True, slots=True)
class Memory:
    """The process's memory after the warm-up, in MiB; growth is the slope of a line through all samples."""

    warm_up_seconds: float
    warm_mib: float
    """At the end of the warm-up."""
    last_mib: float
    most_mib: float
    mib_an_hour: float
    first_third_mib: float
    """The mean of the first third of the samples."""
    last_third_mib: float
    warm_blocks: int
    """Blocks that Python's allocator had given out at the end of the warm-up."""
    last_blocks: int
    blocks_an_hour: float

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Memory | None:
        """Read the samples of a run; None if there are fewer than three of them after the warm-up."""
        warm_up = min(_LONGEST_WARM_UP, samples[-1].seconds * _WARM_UP_SHARE) if samples else 0.0
        warm = [sample for sample in samples if sample.seconds >= warm_up]
        third = len(warm) // 3
        if not third:
            return None
        sizes = [sample.rss_mib for sample in warm]
        hours = [sample.seconds / 3600 for sample in warm]
        return cls(
            warm_up_seconds=round(warm_up, 1),
            warm_mib=sizes[0],
            last_mib=sizes[-1],
            most_mib=max(sizes),
            mib_an_hour=round(linear_regression(hours, sizes).slope, 2),
            first_third_mib=round(fmean(sizes[:third]), 3),
            last_third_mib=round(fmean(sizes[-third:]), 3),
            warm_blocks=warm[0].blocks,
            last_blocks=warm[-1].blocks,
            blocks_an_hour=round(linear_regression(hours, [sample.blocks for sample in warm]).slope),
        )

    @property
    def allowed_mib(self) -> float:
        """How much more the last third may have than the first."""
        return max(_MOST_MIB, _MOST_SHARE * self.first_third_mib)

    @property
    def grown_mib(self) -> float:
        """How much more it has."""
        return self.last_third_mib - self.first_third_mib
