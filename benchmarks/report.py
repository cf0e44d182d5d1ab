"""What every benchmark ends with: a table for a terminal, a JSON file and a plot."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Cell = str | float | None


class Table:
    """Lines of one layout.

    Args:
        columns: Heading -> the format of its cells, beginning with ``<`` or ``>`` and a width (``>9.1f``).
    """

    def __init__(self, columns: Mapping[str, str]) -> None:
        self._formats = list(columns.values())
        self.heading = self.line(*columns)

    def line(self, *cells: Cell, remarks: Sequence[str] = ()) -> str:
        """Write a line; None is a dash, and text ignores the digits of its column's format."""
        aligned = [_aligned(cell, form) for cell, form in zip(cells, self._formats, strict=True)]
        return "".join([*aligned, *(f"  {remark}" for remark in remarks)])


def _aligned(cell: Cell, form: str) -> str:
    if cell is None or isinstance(cell, str):
        width = len(format(0, form))
        return format("-" if cell is None else cell, f"{form[0]}{width}")
    return format(cell, form)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file that people can read and compare."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


_MOST_TICKS = 12
"""Labels of an axis; beyond them, only powers of two have one."""


class Panel(NamedTuple):
    """One part of a plot."""

    title: str
    lines: Mapping[str, Mapping[int, float]]
    """Label -> x -> y, the labels in the order of their colours."""
    dots: frozenset[str] = frozenset()
    """Labels whose points are not joined."""


def plot(
    path: Path,
    panels: Sequence[Panel],
    x_label: str,
    y_label: str,
    *,
    log_y: bool = False,
    legend_beside: bool = False,
) -> None:
    """Plot panels side by side, x in powers, in the format of the path's suffix.

    Args:
        path: Where.
        panels: Its parts; a legend is in the first one, if all have the same lines.
        x_label: Of each x axis.
        y_label: Of the first y axis.
        log_y: Whether y is in powers, too.
        legend_beside: Whether the legend is beside all panels, since it would cover their lines.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Without dates and random ids, the same figures give the same file.
    with mpl.rc_context({"svg.hashsalt": "nucleus", "svg.fonttype": "none"}):
        width = 5 * len(panels) + 1 if len(panels) > 1 else 8
        figure = Figure(figsize=(width, 4.5), layout="constrained")
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            axes.set_title(panel.title, fontsize="medium")
            axes.set_xscale("log", base=2)
            axes.set_yscale("log" if log_y else "linear")
            for label, points in panel.lines.items():
                style = "none" if label in panel.dots else "solid"
                axes.plot(*zip(*points.items(), strict=True), linestyle=style, marker="o", label=label)
            ticks = sorted({x for points in panel.lines.values() for x in points})
            if len(ticks) > _MOST_TICKS:
                ticks = [x for x in ticks if x.bit_count() == 1]
            axes.set_xticks(ticks, [f"{x:,}" for x in ticks])
            axes.minorticks_off()
            if not log_y:
                axes.set_ylim(bottom=0)
            if len(panels) > 1 and not legend_beside and set(panel.lines) != set(panels[0].lines):
                axes.legend(frameon=False)
            axes.set_xlabel(x_label)
            axes.grid(visible=True, alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
        figure.axes[0].set_ylabel(y_label)
        if legend_beside:
            figure.legend(
                *figure.axes[0].get_legend_handles_labels(), loc="outside right upper", frameon=False
            )
        else:
            figure.axes[0].legend(frameon=False)
        figure.savefig(path, metadata={"Creator": None, "Date": None})
