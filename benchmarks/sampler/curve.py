"""Time against the size of the vocabulary, as a plot."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LLAMA = "llama.cpp's chain, its candidates included"
"""The side that draws at the vocabulary of a context alone: points of two models, which are no line."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Microseconds a row of several sides, for several vocabularies."""

    points: dict[str, dict[int, float]] = field(default_factory=dict)
    """Side -> size of the vocabulary -> median microseconds a row."""

    def add(self, side: str, n_vocab: int, microseconds: float) -> None:
        """Note one time."""
        self.points.setdefault(side, {})[n_vocab] = round(microseconds, 3)

    @property
    def has_lines(self) -> bool:
        """Whether there is more than llama.cpp's points."""
        return any(side != LLAMA for side in self.points)

    def plot(self, path: Path) -> None:
        """Write the plot, in the format of the path's suffix."""
        import matplotlib as mpl
        from matplotlib.figure import Figure

        # Without dates and random ids, the same figures give the same file.
        with mpl.rc_context({"svg.hashsalt": "nucleus", "svg.fonttype": "none"}):
            figure = Figure(figsize=(8, 5), layout="constrained")
            axes = figure.add_subplot(xscale="log", yscale="log")
            for side, times in sorted(self.points.items(), key=_end, reverse=True):
                style = "none" if side == LLAMA else "solid"
                axes.plot(
                    list(times), list(times.values()), linestyle=style, marker="o", markersize=4, label=side
                )
            sizes = sorted({n_vocab for times in self.points.values() for n_vocab in times})
            axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
            axes.minorticks_off()
            axes.set_xlabel("vocabulary, tokens")
            axes.set_ylabel("µs a row, median")
            axes.set_title("One draw: penalties, temperature, top-p; all but llama.cpp with logprobs=5")
            axes.grid(visible=True, alpha=0.3)
            axes.legend()
            figure.savefig(path, metadata={"Creator": None, "Date": None})


def _end(side: tuple[str, dict[int, float]]) -> float:
    """Return where a line ends: the legend is in the lines' own order."""
    return max(side[1].values())
