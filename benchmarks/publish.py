"""Write ``docs/performance-results.md`` from the JSON files of the last published runs.

``python -m benchmarks.publish`` writes the page, and draws the plot of what steps cost. With ``--check`` it
compares the page with the files, and exits with 1 and one line if they differ.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_RESULTS = Path(__file__).parent / "results"
_PAGE = Path(__file__).parents[1] / "docs" / "performance-results.md"
_HEAD = """# Performance: results

`make publish` writes this page from `benchmarks/results/*.json`, and `make check` compares the two. Each
table is from one machine on one day. Ratios carry over to other machines better than times do.
[performance.md](performance.md) says what is measured."""
_SERVING_HEADING = (
    "server | door | clients or requests/s | logprobs | tokens/s | TTFT p50, p95 (ms) | ITL p50, p99 (ms)"
)
_FIGURES = {
    "the other time over ours; more is better": ("{:.3g}x faster", "at least {:.3g}x"),
    "our time over the other; less is better": ("{:.3g}x the time", "at most {:.3g}x"),
    "our time over the other, less one; less is better": ("{:+.0%} time", "at most {:+.0%}"),
    "our time in microseconds; less is better": ("{:.2g} µs", "at most {:g} µs"),
}
"""What a line's figure is, with a format for the figure and one for its goal."""


def main(arguments: list[str]) -> None:
    """Write the page, or compare it with the files."""
    sampler, serving = (
        json.loads((_RESULTS / name).read_text(encoding="utf-8")) for name in ("sampler.json", "serving.json")
    )
    page = "\n\n".join([_HEAD, *_sampler(sampler), *_serving(serving)]) + "\n"
    if "--check" not in arguments:
        _PAGE.write_text(page, encoding="utf-8")
        _plot_step_cost()
    elif not _PAGE.exists() or _PAGE.read_text(encoding="utf-8") != page:
        sys.exit(f"{_PAGE.name} differs from benchmarks/results; run make publish")


def _plot_step_cost() -> None:
    """Draw what a step costs on CPUs and on a GPU."""
    from benchmarks.report import Panel, plot

    panels = [
        Panel(
            panel["title"],
            {label: {int(x): y for x, y in line.items()} for label, line in panel["lines"].items()},
        )
        for panel in json.loads((_RESULTS / "step_cost.json").read_text(encoding="utf-8"))["panels"]
    ]
    plot(_RESULTS / "step_cost.svg", panels, "tokens of the step", "milliseconds, log", log_y=True)


def _sampler(results: dict[str, Any]) -> Iterator[str]:
    yield "## The sampler"
    yield f"{_machine(results['machine'])} {results['unit'].capitalize()}."
    yield _table(
        "line | vocabulary | kernels | other | Nucleus | figure | goal", map(_line, results["lines"])
    )
    yield "![Microseconds a row against the size of the vocabulary](../benchmarks/results/sampler.svg)"


def _line(line: dict[str, Any]) -> tuple[str, ...]:
    figure, goal = _FIGURES[line["is"]]
    return (
        *(line["title"], f"{line['n_vocab']:,}", line["kernels"]),
        *(_number(line["other"]), _number(line["ours"])),
        *(figure.format(line["figure"]), "" if line["goal"] is None else goal.format(line["goal"])),
    )


def _serving(results: dict[str, Any]) -> Iterator[str]:
    peers = ", ".join(f"{name} {version}" for name, version in results["peers"].items())
    yield "## Beside other servers"
    yield f"{_machine(results['machine'])} Beside {peers}."
    for model, found in results["models"].items():
        yield f"### {model}"
        yield _table(_SERVING_HEADING, map(_row, found["rows"]))
        scenarios = (
            (one["title"], _number(one["ratio"]["value"]), f"at most {one['goal']:g}")
            for one in found["scenarios"]
        )
        yield _table("shared prefixes and long prompts | ratio | goal", scenarios)
    yield "![Tokens per second against the number of clients](../benchmarks/results/serving.svg)"


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    first, between, rate = row["first_token"], row["between_tokens"], row["requests_per_s"]
    return (
        *(row["server"], row["door"]),
        str(row["clients"]) if rate is None else f"{rate:.2f} requests/s",
        "" if row["logprobs"] is None else str(row["logprobs"]),
        _number(row["tokens_per_s"]["value"]),
        f"{first['p50']:,.0f}, {first['p95']:,.0f}",
        f"{between['p50']:,.0f}, {between['p99']:,.0f}",
    )


def _table(heading: str, rows: Iterable[tuple[str, ...]]) -> str:
    rule = "---|" * len(heading.split(" | "))
    return "\n".join([f"| {heading} |", f"|{rule}", *(f"| {' | '.join(row)} |" for row in rows)])


def _machine(machine: dict[str, Any]) -> str:
    return (
        f"{machine['cores']} cores of {machine['processor']}, {machine['system']}, "
        f"kernels {machine['kernels'][0]}, llama-cpp-python {machine['packages']['llama-cpp-python']}."
    )


def _number(value: float | None) -> str:
    """Return a number with three significant digits, or nothing for None."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


if __name__ == "__main__":
    main(sys.argv[1:])
