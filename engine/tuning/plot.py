"""A drawing of speed against loss of quality, with the front of what cannot be beaten in both."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, Final

from engine.errors import InvalidRequestError
from engine.tuning.output import check_new

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from engine.tuning.candidate import Candidate
    from engine.tuning.report import TuningReport

_FORMATS: Final = ("svg", "png", "pdf")
_CHOSEN, _OTHERS, _BEYOND = "#b3261e", "#1f5fa8", "#8a8a8a"
_NEARLY_NOTHING: Final = 1e-3
"""Nats up to which the axis is linear, so that 0 has a place on it."""


def check_plot(path: Path) -> None:
    """Refuse what could not be drawn, before anything is measured.

    Raises:
        InvalidRequestError: there is something at the path, its ending is unknown, or matplotlib is missing.
    """
    check_new(path, "plot")
    if path.suffix[1:] not in _FORMATS:
        raise InvalidRequestError(
            f"--plot should end in .{', .'.join(_FORMATS)}, not {path.suffix!r}.", param="plot"
        )
    if importlib.util.find_spec("matplotlib") is None:
        raise InvalidRequestError(
            "--plot needs matplotlib, which is not installed.",
            param="plot",
            hint="Install it with: pip install matplotlib",
        )


def plot(report: TuningReport, path: Path) -> None:
    """Draw all candidates that were measured in both speed and quality into a new file.

    Args:
        report: What was found.
        path: An SVG, PNG or PDF file that does not exist.

    Raises:
        InvalidRequestError: see :func:`check_plot`.
    """
    check_plot(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    _draw(figure.add_subplot(), report)
    with path.open("xb") as file:
        figure.savefig(file, format=path.suffix[1:])


def _draw(axes: Any, report: TuningReport) -> None:
    streams, choice = report.streams, report.choice
    for candidate in report.candidates:
        point = _point(candidate, streams)
        if point is None:
            continue
        within = candidate.is_within(report.max_kl)
        colour = _CHOSEN if candidate is choice else _OTHERS if within else _BEYOND
        axes.plot(*point, "o", color=colour)
        axes.annotate(candidate.name, point, (5, 4), textcoords="offset points", fontsize=8, color=colour)
    _draw_front(axes, report.front, streams)
    axes.axvline(report.max_kl, color=_BEYOND, linestyle=":")
    axes.set_xscale("symlog", linthresh=_NEARLY_NOTHING)
    axes.set_xlim(left=-_NEARLY_NOTHING / 20, right=4 * axes.get_xlim()[1])  # with room for names
    axes.set_xlabel(f"mean KL divergence from the original, nats a token (limit {report.max_kl:g})")
    axes.set_ylabel(f"tokens/s at {streams} streams, the original being 1")
    axes.set_title(f"{report.model} on {report.processor}", fontsize=10)
    axes.grid(alpha=0.3)


def _draw_front(axes: Any, front: Sequence[Candidate], streams: int) -> None:
    points = [point for candidate in front if (point := _point(candidate, streams)) is not None]
    axes.plot(*zip(*points, strict=True), "-", color=_OTHERS, alpha=0.5, zorder=0)


def _point(candidate: Candidate, streams: int) -> tuple[float, float] | None:
    """Return a candidate's loss and gain; None if one of them was not measured."""
    gain, quality = candidate.gain(streams), candidate.quality
    if gain is None or quality is None or not quality.is_finite:
        return None
    return quality.mean_kl, gain
