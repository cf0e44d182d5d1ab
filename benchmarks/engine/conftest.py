"""The tables at the end of ``make bench``."""

from __future__ import annotations

import pytest

from benchmarks.report import Table

THROUGHPUT = Table(
    {"tokens/s": "<24", "streams": ">8d", "bare": ">9.1f", "engine": ">9.1f", "ratio": ">7.2f"}
    | {"elsewhere": ">11.2f"}
)
STEP = Table(
    {"a steady step, µs a token": "<25", "streams": ">8d", "llama.cpp": ">11.0f", "sampler": ">9.1f"}
    | {"rest": ">7.1f", "loop": ">7.1f", "sampler and rest": ">18.1%"}
)
OVERHEAD = Table({"no model, µs a token": "<25", "streams": ">8d", "engine": ">9.1f", "loop": ">9.1f"})
CONTEXT = Table({"no model, a token behind": "<40", "streams": ">8d", "ratio of times": ">16.2f"})

WIDTHS = Table(
    {
        "a step, ms": "<24",
        "decodes": ">8d",
        "alone": ">9.1f",
        "taken": ">7d",
        "takes": ">9.1f",
        "ratio": ">7.2f",
    }
)

OVERLAP = Table(
    {
        "paced like a GPU": "<20",
        "streams": ">8d",
        "bare, ms": ">9.2f",
        "text first": ">11.2f",
        "meanwhile": ">10.2f",
        "all in, text first": ">20.2f",
        "all in": ">8.2f",
    }
)

LOOKUP = Table(
    {
        "guessed tokens": "<24",
        "text": "<12",
        "streams": ">8d",
        "without": ">9.1f",
        "with": ">9.1f",
        "ratio": ">7.2f",
        "guessed": ">9d",
        "right": ">7.0%",
    }
)

FORMS = Table(
    {
        "a JSON schema, tokens/s": "<24",
        "streams": ">8d",
        "free text": ">10.1f",
        "one by one": ">11.1f",
        "forced together": ">16.1f",
        "ratio": ">7.2f",
        "and": ">6.2f",
    }
)

Report = dict[Table, list[str]]
"""The lines of each table."""

_REPORT = pytest.StashKey[Report]()


def pytest_configure(config: pytest.Config) -> None:
    report: Report = {
        table: [] for table in (WIDTHS, THROUGHPUT, STEP, LOOKUP, FORMS, OVERHEAD, CONTEXT, OVERLAP)
    }
    config.stash[_REPORT] = report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    tables = [(table.heading, *lines) for table, lines in config.stash[_REPORT].items() if lines]
    if tables:
        terminalreporter.section("the engine beside llama.cpp alone: medians")
    for lines in tables:
        terminalreporter.write_line("\n".join(("", *lines)))


@pytest.fixture
def report(pytestconfig: pytest.Config) -> Report:
    return pytestconfig.stash[_REPORT]
