"""Write ``docs/performance-results.md`` from the JSON files of the last published runs.

``python -m benchmarks.publish`` writes the page. With ``--check`` it compares the page with the files, and
exits with 1 and one line if they differ.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "performance-results.md"
_HEAD = """# Performance: results

`make publish` writes this page from `benchmarks/results/*.json`, and `make check` compares the two. Each
table is from one machine on one day. Ratios carry over to other machines better than times do.
[performance.md](performance.md) says what is measured.
"""
_FIGURES = {
    "the other time over ours; more is better": ("{:.3g}x faster", "at least {:.3g}x"),
    "our time over the other; less is better": ("{:.3g}x the time", "at most {:.3g}x"),
    "our time over the other, less one; less is better": ("{:+.0%} time", "at most {:+.0%}"),
    "our time in microseconds; less is better": ("{:.2g} µs", "at most {:g} µs"),
}
"""What a line's figure is, with a format for the figure and one for its goal."""


def main(arguments: list[str]) -> int:
    """Write the page, or check it; return the exit status."""
    page = "\n".join(_page())
    if "--check" not in arguments:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page:
        return 0
    print(f"{PAGE.name} differs from benchmarks/results; run make publish", file=sys.stderr)
    return 1


def _page() -> Iterator[str]:
    yield _HEAD
    yield from _sampler(_load("sampler.json"))
    yield from _serving(_load("serving.json"))


def _load(name: str) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return results


def _sampler(results: dict[str, Any]) -> Iterator[str]:
    yield f"## The sampler\n\n{_machine(results['machine'])} {results['unit'].capitalize()}.\n"
    yield from _table(
        ("line", "vocabulary", "kernels", "other", "Nucleus", "figure", "goal"),
        (
            (
                line["title"],
                f"{line['n_vocab']:,}",
                line["kernels"],
                _number(line["other"]),
                _number(line["ours"]),
                *_figure(line),
            )
            for line in results["lines"]
        ),
    )
    yield "![Microseconds a row against the size of the vocabulary](../benchmarks/results/sampler.svg)\n"


def _figure(line: dict[str, Any]) -> tuple[str, str]:
    figure, goal = _FIGURES[line["is"]]
    return figure.format(line["figure"]), "" if line["goal"] is None else goal.format(line["goal"])


def _serving(results: dict[str, Any]) -> Iterator[str]:
    peers = ", ".join(f"{name} {version}" for name, version in results["peers"].items())
    yield f"## Beside other servers\n\n{_machine(results['machine'])} Beside {peers}.\n"
    for model, found in results["models"].items():
        yield f"### {model}\n"
        yield from _table(
            (
                "server",
                "door",
                "clients or requests/s",
                "logprobs",
                "tokens/s",
                "TTFT p50, p95 (ms)",
                "ITL p50, p99 (ms)",
            ),
            (_served(row) for row in found["rows"]),
        )
        yield from _table(
            ("shared prefixes and long prompts", "ratio", "goal"),
            (
                (each["title"], _number(each["ratio"]["value"]), f"at most {each['goal']:g}")
                for each in found["scenarios"]
            ),
        )
    yield "![Tokens per second against the number of clients](../benchmarks/results/serving.svg)\n"


def _served(row: dict[str, Any]) -> tuple[object, ...]:
    first, between = row["first_token"], row["between_tokens"]
    return (
        row["server"],
        row["door"],
        row["clients"] if row["requests_per_s"] is None else f"{row['requests_per_s']:.2f} requests/s",
        "" if row["logprobs"] is None else row["logprobs"],
        _number(row["tokens_per_s"]["value"]),
        f"{first['p50']:,.0f}, {first['p95']:,.0f}",
        f"{between['p50']:,.0f}, {between['p99']:,.0f}",
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(str(cell) for cell in row) + " |"
    yield ""


def _machine(machine: dict[str, Any]) -> str:
    packages = machine["packages"]
    return (
        f"{machine['cores']} cores of {machine['processor']}, {machine['system']}, "
        f"kernels {machine['kernels'][0]}, llama-cpp-python {packages['llama-cpp-python']}."
    )


def _number(value: float | None) -> str:
    """Return a number with three significant digits, or nothing for None."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
