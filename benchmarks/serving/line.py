"""One line of the scenarios' table."""

from __future__ import annotations

from dataclasses import asdict, dataclass

HEADING = f"{'scenario, ms':72}{'without':>9}{'with':>9}{'ratio':>9}{'goal':>9}{'elsewhere':>11}"


@dataclass(frozen=True, slots=True)
class Line:
    """A time under some circumstance, beside the same without it."""

    model: str
    title: str
    without: float
    """Milliseconds without it, the median of the rounds."""
    along: float
    """Milliseconds with it, the median of the rounds."""
    ratio: float
    """Median of the rounds' own ratios of the second to the first."""
    most: float
    """What the ratio is to be at most."""
    elsewhere: float | None
    """Processors that other programs kept busy meanwhile."""

    @property
    def reached(self) -> bool:
        """Whether the ratio is what it is meant to be."""
        return self.ratio <= self.most

    def text(self) -> str:
        """Write the line as :data:`HEADING` has it."""
        elsewhere = "-" if self.elsewhere is None else f"{self.elsewhere:.2f}"
        return (
            f"{self.title:72}{self.without:9.1f}{self.along:9.1f}{self.ratio:8.2f}x"
            f"{f'≤ {self.most:.2f}x':>9}{elsewhere:>11}{'' if self.reached else '  missed'}"
        )

    def entry(self) -> dict[str, object]:
        """Return the line for JSON."""
        fields = {name: value for name, value in asdict(self).items() if name != "model"}
        rounded = {k: round(v, 3) if isinstance(v, float) else v for k, v in fields.items()}
        return rounded | {"reached": self.reached}
