"""Tokens per second against the number of clients, as a plot."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.serving.row import Row


def plot(rows: Sequence[Row], path: Path) -> None:
    """Write the plot of the closed loops without log-probabilities, in the format of the path's suffix."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    rows = [row for row in rows if row.job.rate is None and row.job.logprobs is None]
    models = list(dict.fromkeys(row.model for row in rows))
    if not models:
        return
    # Without dates and random ids, the same figures give the same file.
    with mpl.rc_context({"svg.hashsalt": "nucleus", "svg.fonttype": "none"}):
        figure = Figure(figsize=(5 * len(models) + 1, 4.5), layout="constrained")
        panels = figure.subplots(1, len(models), squeeze=False)[0]
        for panel, model in zip(panels, models, strict=True):
            panel.set_title(model)
            panel.set_xscale("log", base=2)
            for side, points in _sides([row for row in rows if row.model == model]).items():
                panel.plot(list(points), list(points.values()), marker="o", markersize=4, label=side)
            clients = sorted({row.job.clients or 0 for row in rows})
            panel.set_xticks(clients, [str(count) for count in clients])
            panel.set_ylim(bottom=0)
            panel.set_xlabel("clients, each with one request at a time")
            panel.grid(visible=True, alpha=0.3)
        panels[0].set_ylabel("tokens/s")
        panels[0].legend()
        figure.savefig(path, metadata={"Creator": None, "Date": None})


def _sides(rows: Sequence[Row]) -> dict[str, dict[int, float]]:
    """Return side -> clients -> tokens per second."""
    sides: dict[str, dict[int, float]] = {}
    for row in rows:
        sides.setdefault(f"{row.server}, {row.job.door}", {})[row.job.clients or 0] = row.tokens_per_s
    return sides
