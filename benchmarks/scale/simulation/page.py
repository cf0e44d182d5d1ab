"""The tables of docs/notes/fleet-simulation.md, from the JSON file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.scale.simulation.scenarios import ROUTERS, SIZES_END

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGE = Path(__file__).parents[3] / "docs" / "notes" / "fleet-simulation.md"
_BEGIN, _END = "<!-- tables: python -m benchmarks.scale.simulation --plots -->", "<!-- end of the tables -->"
_HEADING = "router | hit rate | TTFT p50 | TTFT p99 | latency p99 | busiest | fullest | keeps"

Row = dict[str, Any]


def with_tables(page: str, found: dict[str, Any]) -> str:
    """Return the page with the tables of the JSON file's content."""
    before, rest = page.split(_BEGIN)
    after = rest.split(_END)[1]
    return "\n\n".join([before + _BEGIN, *_tables(found), _END + after])


def _tables(found: dict[str, Any]) -> Iterator[str]:
    rows: list[Row] = found["rows"]
    by_size = [row for row in rows if row["ends"] == SIZES_END]
    cpu = [row for row in rows if row["machine"] == "cpu" and row not in by_size]
    for workers in (10, 100, 1_000):
        chosen = [row for row in by_size if row["workers"] == workers]
        seeds = max(row["seeds"] for row in chosen)
        spread = f"; medians of {seeds} seeds, and the least and the most" if seeds > 1 else ""
        yield f"### {workers:,} workers, load 0.7"
        yield f"Times in seconds{spread}."
        yield _table(_HEADING, {row["router"]: _line(row) for row in chosen})
    default = found["machines"]["cpu"]["cache_tokens"]
    at_100 = [row for row in cpu if row["workers"] == 100]
    yield "### 100 workers: other loads"
    yield "TTFT p99 in seconds and, in brackets, the hit rate."
    loads = [row for row in at_100 if row["cache"] == default]
    yield _pivot(loads, "load", (0.5, 0.7, 0.9), lambda row: f"{_n(row, 'ttft_p99')} ({_hits(row)})")
    yield "### 100 workers, load 0.7: caches of other sizes"
    yield "TTFT p99 in seconds and, in brackets, the hit rate, by the tokens of each worker's cache."
    sizes = [row for row in at_100 if row["load"] == 0.7]
    caches = tuple(sorted({row["cache"] for row in sizes}))
    yield _pivot(sizes, "cache", caches, lambda row: f"{_n(row, 'ttft_p99')} ({_hits(row)})")
    yield "### 10 workers, load 0.7: a worker dies, a worker is slow"
    yield "TTFT p99 in seconds and, in brackets, the requests of the fullest worker over the mean."
    yield _pivot(
        [row for row in cpu if row["workers"] == 10],
        "fault",
        ("none", "death", "slow"),
        lambda row: f"{_n(row, 'ttft_p99')} ({_n(row, 'queue_imbalance')})",
    )
    yield "### 10 workers with a GPU, load 0.7"
    yield "Turns follow each other 30 times as fast. Times in seconds."
    yield _table(_HEADING, {row["router"]: _line(row) for row in rows if row["machine"] == "gpu"})


def _line(row: Row) -> list[str]:
    keeps = f"{row['entries'][0]:,.0f}, {_size(row['n_bytes'][0])}" if row["entries"][0] else "nothing"
    names = ("ttft_p50", "ttft_p99", "latency_p99", "busy_imbalance", "queue_imbalance")
    return [
        _spread(row, "hit_rate", _hits(row)),
        *(_spread(row, name, _n(row, name)) for name in names),
        keeps,
    ]


def _spread(row: Row, name: str, median: str) -> str:
    """Add the least and the most of several seeds to a median."""
    if row["seeds"] == 1:
        return median
    return f"{median} ({row[name][1]:.3g} to {row[name][2]:.3g})"


def _size(n_bytes: float) -> str:
    """Return a number of bytes in a unit that suits it.

    >>> _size(192_000)
    '192 KB'
    """
    for unit, size in (("MB", 1e6), ("KB", 1e3)):
        if n_bytes >= size:
            return f"{n_bytes / size:,.3g} {unit}"
    return f"{n_bytes:,.0f} B"


def _hits(row: Row) -> str:
    return f"{row['hit_rate'][0]:.3f}"


def _n(row: Row, name: str) -> str:
    return f"{row[name][0]:,.3g}"


def _pivot(rows: list[Row], column: str, values: tuple[Any, ...], cell: Callable[[Row], str]) -> str:
    """Return a table with a line for each router and a column for each value."""
    lines: dict[str, list[str]] = {}
    for router in ROUTERS:
        cells = {row[column]: cell(row) for row in rows if row["router"] == router}
        if set(cells) == set(values):
            lines[router] = [cells[value] for value in values]
    heading = [f"{value:,}" if isinstance(value, int) else str(value) for value in values]
    return _table(" | ".join(["router", *heading]), lines)


def _table(heading: str, lines: dict[str, list[str]]) -> str:
    rule = "|---|" + "---:|" * heading.count(" | ")
    written = (f"| {router} | {' | '.join(cells)} |" for router, cells in lines.items())
    return "\n".join([f"| {heading} |", rule, *written])
