"""`docs/reliability.md` names a test for each fault; the tests are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "reliability.md").read_text(encoding="utf-8")
ROWS = [row.strip("|").split("|") for row in PAGE.splitlines() if "::" in row]


def names_in(path: Path) -> set[str]:
    """Return the names of the tests that a file defines, in classes too."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    functions = (node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {function.name for function in functions if function.name.startswith("test_")}


def test_the_page_has_its_table() -> None:
    assert len(ROWS) >= 44


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip()[:40])
def test_every_fault_has_a_promise_and_tests_that_exist(row: list[str]) -> None:
    fault, promise, named = row
    assert fault.strip()
    assert promise.strip()
    tests = re.findall(r"`([\w/]+\.py)::(test_\w+)`", named)
    assert tests
    assert len(tests) == named.count("::")
    for file, name in tests:
        assert name in names_in(TESTS / file)
