"""Write ``docs/performance-results.md`` from the JSON files of the last published runs.

``python -m benchmarks.publish`` writes the page; with ``--check`` it compares the page with the files and
ends with 1 where they differ.
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

This page is written by `make publish` from `benchmarks/results/*.json`, and `make check` compares the two.
[performance.md](performance.md) says what is measured, and how to read it: each table is of one machine and
one day, and ratios travel better than times.
"""


def main(arguments: list[str]) -> int:
    """Write the page, or check it; return the exit status."""
    page = "\n".join(_page())
    if "--check" not in arguments:
        PAGE.write_text(page)
        return 0
    if PAGE.read_text() == page:
        return 0
    print(f"{PAGE} is not what benchmarks/results gives; make publish writes it", file=sys.stderr)
    return 1


def _page() -> Iterator[str]:
    yield _HEAD
    yield from _sampler(json.loads((RESULTS / "sampler.json").read_text()))
    yield from _serving(json.loads((RESULTS / "serving.json").read_text()))


def _sampler(results: dict[str, Any]) -> Iterator[str]:
    yield f"## The sampler\n\n{_machine(results['machine'])} {results['unit'].capitalize()}.\n"
    lines = results["lines"]
    yield from _table(
        ("line", "vocabulary", "kernels", "other", "Nucleus", "figure", "goal"),
        (
            (
                line["title"],
                f"{line['n_vocab']:,}",
                line["kernels"],
                _number(line["other"]),
                _number(line["ours"]),
                _number(line["figure"]),
                _number(line["goal"]),
            )
            for line in lines
        ),
    )
    yield "What the figure is: " + "; ".join(dict.fromkeys(line["is"] for line in lines)) + ".\n"
    yield "![Microseconds a row against the size of the vocabulary](../benchmarks/results/sampler.svg)\n"


def _serving(results: dict[str, Any]) -> Iterator[str]:
    peers = ", ".join(f"{name} {version}" for name, version in results["peers"].items())
    yield f"## Beside other servers\n\n{_machine(results['machine'])} Beside {peers}.\n"
    for model, found in results["models"].items():
        yield f"### {model}\n"
        yield from _table(
            ("server", "door", "clients", "logprobs", "tokens/s", "TTFT p50, p95 (ms)", "ITL p50, p99 (ms)"),
            (_served(row) for row in found["rows"] if row["requests_per_s"] is None),
        )
        yield from _table(
            ("shared prefixes and long prompts", "ratio", "goal"),
            ((each["title"], _number(each["ratio"]["value"]), each["goal"]) for each in found["scenarios"]),
        )
    yield "![Tokens per second against the number of clients](../benchmarks/results/serving.svg)\n"


def _served(row: dict[str, Any]) -> tuple[object, ...]:
    first, between = row["first_token"], row["between_tokens"]
    return (
        row["server"],
        row["door"],
        row["clients"],
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
    """Return a number with three digits that count, or nothing."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
