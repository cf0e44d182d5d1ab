"""Tokens per second against the number of clients, as a plot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.serving.comparison import comparisons
from benchmarks.serving.goal import CLIENTS
from benchmarks.serving.peers import XLLAMACPP
from benchmarks.serving.server import OURS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.serving.row import Row

_NAMES = {OURS: "Nucleus", XLLAMACPP: "llama.cpp's server"}


def plot(rows: Sequence[Row], path: Path) -> None:
    """Write the plot of the servers' closed loops over HTTP, in the format of the path's suffix.

    A panel is of one model; its title tells the ratio that the goals are about.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    models = list(dict.fromkeys(row.model for row in rows if _is_shown(row)))
    if not models:
        return
    # Without dates and random ids, the same figures give the same file.
    with mpl.rc_context({"svg.hashsalt": "nucleus", "svg.fonttype": "none"}):
        figure = Figure(figsize=(5 * len(models) + 1, 4.5), layout="constrained")
        panels = figure.subplots(1, len(models), squeeze=False)[0]
        for panel, model in zip(panels, models, strict=True):
            shown = [row for row in rows if row.model == model and _is_shown(row)]
            panel.set_title(model + _ratios(model, rows), fontsize="medium")
            panel.set_xscale("log", base=2)
            for server, points in _points(shown).items():
                name = _NAMES.get(server, server)
                panel.plot(list(points), list(points.values()), marker="o", markersize=5, label=name)
            clients = sorted({row.work.clients or 0 for row in shown})
            panel.set_xticks(clients, [str(count) for count in clients])
            panel.set_ylim(bottom=0)
            panel.set_xlabel("clients, each with one request at a time")
            panel.grid(visible=True, alpha=0.3)
            panel.spines[["top", "right"]].set_visible(False)
        panels[0].set_ylabel("tokens/s of all clients together")
        panels[0].legend(frameon=False)
        figure.savefig(path, metadata={"Creator": None, "Date": None})


def _is_shown(row: Row) -> bool:
    return row.door == "http" and row.work.rate is None and row.work.logprobs is None


def _points(rows: Sequence[Row]) -> dict[str, dict[int, float]]:
    """Return server -> clients in their order -> tokens per second."""
    servers: dict[str, dict[int, float]] = {}
    for row in sorted(rows, key=lambda row: row.work.clients or 0):
        servers.setdefault(row.server, {})[row.work.clients or 0] = row.tokens_per_s
    return dict(sorted(servers.items(), key=lambda side: side[0] != OURS))  # ours has the first colour


def _ratios(model: str, rows: Sequence[Row]) -> str:
    found = [
        f"{one.ratio.value:.1f}x {_NAMES.get(one.goal.server, one.goal.server)}"
        for one in comparisons(model, rows)
        if one.logprobs is None and one.goal.server != OURS
    ]
    return f"\n{CLIENTS} clients: {', '.join(found)}" if found else ""
