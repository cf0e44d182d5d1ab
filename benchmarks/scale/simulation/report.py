"""What came of the runs: a table for a terminal, a JSON file, plots."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.report import Panel, Table, plot, write_json
from benchmarks.scale.simulation.costs import MACHINES
from benchmarks.scale.simulation.page import PAGE, with_tables
from benchmarks.scale.simulation.scenarios import ROUTERS, SIZES_END, Scenario, shape_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from benchmarks.scale.simulation.scenarios import Figures

_RESULTS = Path(__file__).parents[2] / "results"
_FILE = _RESULTS / "fleet_simulation.json"
_POINT = ("workers", "load", "machine", "cache", "fault", "begins", "ends", "router")
_DIGITS = 4
_SHOWN = ("hit_rate", "ttft_p50", "ttft_p99", "latency_p99", "busy_imbalance", "queue_imbalance", "entries")

Row = dict[str, Any]
_Lines = dict[str, dict[int, float]]


def rows(found: Mapping[Scenario, Figures]) -> list[Row]:
    """Return a row for each point: for each figure the median of all seeds, the least and the most."""
    by_point: dict[Scenario, list[dict[str, float]]] = defaultdict(list)
    for scenario, figures in found.items():
        by_point[scenario.point].append(asdict(figures))
    written = []
    for point, runs in sorted(by_point.items(), key=lambda entry: _order(entry[0])):
        row: Row = {name: getattr(point, name) for name in _POINT} | {"seeds": len(runs)}
        row["cache"] = point.cache or MACHINES[point.machine]().host_cache
        for name in runs[0]:
            values = sorted(run[name] for run in runs)
            row[name] = [_rounded(each) for each in (statistics.median(values), values[0], values[-1])]
        written.append(row)
    return written


def show(table_rows: Iterable[Row]) -> None:
    """Print a line for each row."""
    table = Table(
        {
            "workers": ">8",
            "load": ">6.1f",
            "": "<2",
            "kind": "<22",
            "router": "<27",
            "hits": ">6.3f",
            "TTFT p50": ">10.2f",
            "p99": ">8.1f",
            "all p99": ">9.1f",
            "busy x": ">8.2f",
            "queue x": ">9.2f",
            "entries": ">10,.0f",
        }
    )
    print(table.heading)
    for row in table_rows:
        kind = " ".join([row["machine"], f"{row['cache'] >> 10}k", row["fault"]])
        medians = [row[name][0] for name in _SHOWN]
        print(table.line(f"{row['workers']:,}", row["load"], "", kind, row["router"], *medians))


def write(table_rows: list[Row], rates: Mapping[str, float]) -> None:
    """Write the JSON file."""
    machines = {
        name: {
            "what": MACHINES[name]().what,
            "slots": MACHINES[name]().slots,
            "cache_tokens": MACHINES[name]().host_cache,
            "requests_per_s_at_load_1": _rounded(rate),
        }
        for name, rate in rates.items()
    }
    trace = shape_for("cpu")
    content = {
        "what": "A simulated fleet; figures are [median, least, most] over the seeds, times in seconds. "
        "docs/notes/fleet-simulation.md says what was simulated.",
        "trace": {"source": trace.data["source"], "lengths_divided_by": trace.scale},
        "machines": machines,
        "rows": table_rows,
    }
    write_json(_FILE, content)


def read() -> dict[str, Any]:
    """Return the content of the JSON file."""
    content: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
    return content


def draw() -> None:
    """Draw the plots, and write the page's tables, from the JSON file."""
    content = read()
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), content), encoding="utf-8")
    found = content["rows"]
    by_size = [row for row in found if row["ends"] == SIZES_END]
    by_cache = [row for row in found if row["workers"] == 100 and row["load"] == 0.7 and row not in by_size]
    _plot(
        "hits",
        "part of the prompts' tokens from a cache",
        {
            "65,536 tokens of cache, by workers": _lines(by_size, "workers", "hit_rate"),
            "100 workers, by tokens of cache": _lines(by_cache, "cache", "hit_rate"),
        },
        x_label="",
    )
    _plot(
        "ttft",
        "seconds to the first token",
        {
            "Half of the requests": _lines(by_size, "workers", "ttft_p50"),
            "99 of 100": _lines(by_size, "workers", "ttft_p99"),
        },
    )
    fullest = _lines(by_size, "workers", "queue_imbalance")
    _plot("balance", "over the mean", {"Requests of the fullest worker": fullest})
    kept = _lines(by_size, "workers", "n_bytes")
    _plot("state", "log", {"Bytes that the router keeps": kept}, log_y=True)


def _plot(
    name: str, y_label: str, panels: Mapping[str, _Lines], *, x_label: str = "workers", log_y: bool = False
) -> None:
    parts = [Panel(title, lines) for title, lines in panels.items()]
    plot(_RESULTS / f"fleet_{name}.svg", parts, x_label, y_label, log_y=log_y, legend_beside=True)


def _lines(table_rows: Iterable[Row], x: str, figure: str) -> _Lines:
    """Return a line for each router: x -> the figure's median."""
    lines: _Lines = {router: {} for router in ROUTERS}
    for row in table_rows:
        lines[row["router"]][row[x]] = row[figure][0]
    return {router: dict(sorted(line.items())) for router, line in lines.items() if line}


def _order(point: Scenario) -> tuple[Any, ...]:
    place = list(ROUTERS).index(point.router)
    return point.machine, point.fault, point.ends, point.cache or 0, point.workers, point.load, place


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
