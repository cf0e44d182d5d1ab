"""One line of the scenarios' table."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from benchmarks.serving.figure import Figure, calm_ones

HEADING = f"{'scenario, ms':72}{'without':>9}{'with':>9}{'ratio':>9}{'goal':>9}{'rounds':>7}{'elsewhere':>10}"


class Pair(NamedTuple):
    """What one round found."""

    without: float
    """Milliseconds without the circumstance."""
    along: float
    """Milliseconds with it."""
    elsewhere: float | None
    """Processors that neither the client nor the server had meanwhile."""


@dataclass(frozen=True, slots=True)
class Line:
    """A time under some circumstance, beside the same without it; medians of the calm rounds, or of all."""

    model: str
    title: str
    most: float
    """What the ratio is to be at most."""
    rounds: list[Pair]
    """At least one."""

    @property
    def ratio(self) -> Figure:
        """Of the rounds' own ratios of the second time to the first."""
        figure = Figure.of([(pair.along / pair.without, pair.elsewhere) for pair in self.rounds])
        assert figure
        return figure

    @property
    def reached(self) -> bool:
        """Whether the ratio is what it is meant to be."""
        return self.ratio.value <= self.most

    def text(self) -> str:
        """Write the line as :data:`HEADING` has it."""
        ratio, counted = self.ratio, calm_ones(self.rounds, lambda pair: pair.elsewhere)
        elsewhere = "-" if ratio.elsewhere is None else f"{ratio.elsewhere:.2f}"
        return (
            f"{self.title:72}{median(pair.without for pair in counted):9.1f}"
            f"{median(pair.along for pair in counted):9.1f}{ratio.value:8.2f}x{f'≤ {self.most:.2f}x':>9}"
            f"{f'{ratio.counted}/{ratio.rounds}':>7}{elsewhere:>10}"
            f"{'' if self.reached else '  missed'}{'' if ratio.is_calm else '  busy'}"
        )

    def entry(self) -> dict[str, object]:
        """Return the line for JSON, with every round."""
        return {
            "title": self.title,
            "ratio": self.ratio.entry(),
            "goal": self.most,
            "reached": self.reached,
            "rounds": [
                {k: v if v is None else round(v, 3) for k, v in pair._asdict().items()}
                for pair in self.rounds
            ],
        }
