"""One line of the sampler's table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.sampler.goal import FORCED_GOALS, GOALS
from engine.sampling import KERNELS

if TYPE_CHECKING:
    from benchmarks.sampler.goal import Goal


@dataclass(frozen=True, slots=True)
class Line:
    """What one comparison found."""

    title: str
    """A key of :data:`benchmarks.sampler.goal.GOALS`."""
    n_vocab: int
    kernels: str
    ours: float
    """Microseconds a row of logits, the median of the rounds."""
    other: float | None = None
    """The same for what ours is compared with, if with anything."""
    ratio: float = 1.0
    """Median of the rounds' own ratios of the other time to ours; not the quotient of the two medians."""
    elsewhere: float | None = None
    """Processors that other programs kept busy meanwhile."""

    @property
    def forced(self) -> bool:
        """Whether the kernels are not the machine's best."""
        return self.kernels != KERNELS[0]

    @property
    def goal(self) -> Goal:
        """What the figure is, and is meant to be."""
        return FORCED_GOALS[self.kernels][self.title] if self.forced else GOALS[self.title]

    @property
    def figure(self) -> float:
        """What the goal is about."""
        return self.goal.kind.figure(self.ours, self.ratio)

    @property
    def reached(self) -> bool:
        """Whether the figure is what it is meant to be."""
        return self.goal.reached(self.figure, self.n_vocab)

    @property
    def place(self) -> tuple[int, int, int]:
        """Where the line stands in the table."""
        return KERNELS.index(self.kernels), list(GOALS).index(self.title), self.n_vocab

    def text(self) -> str:
        """Write the line as :data:`HEADING` has it."""
        kind, bound = self.goal.kind, self.goal.bound(self.n_vocab)
        wanted = "-" if bound is None else f"{'≥' if kind.more_is_better else '≤'} {kind.shown(bound)}"
        other = "-" if self.other is None else f"{self.other:.1f}"
        elsewhere = "-" if self.elsewhere is None else f"{self.elsewhere:.2f}"
        return (
            f"{self.title:41}{self.kernels:8}{self.n_vocab:8}{other:>10}{self.ours:9.1f}"
            f"{kind.shown(self.figure):>9}{wanted:>11}{elsewhere:>11}{'' if self.reached else '  missed'}"
        )


HEADING = (
    f"{'sampler, µs a row':41}{'kernels':8}{'n_vocab':>8}{'other':>10}{'engine':>9}"
    f"{'figure':>9}{'goal':>11}{'elsewhere':>11}"
)
