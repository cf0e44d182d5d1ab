"""The README's first screen, and what else is run as it stands."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest

from tests.docs.blocks import ROOT, blocks_of

if TYPE_CHECKING:
    from pathlib import Path

README = ROOT / "README.md"
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def test_the_first_screen_has_two_commands_and_an_example_for_each_door() -> None:
    commands, *examples = (block.code for block in blocks_of(README))
    assert [line.split()[:2] for line in commands.splitlines()] == [["make", "serve"], ["make", "test"]]
    names = ("curl ", "LLM(", "grpc.")
    assert [[name for name in names if name in code] for code in examples] == [["curl "], ["LLM("], ["grpc."]]


def test_it_has_a_picture_of_figures_one_of_the_page_and_one_table() -> None:
    text = README.read_text(encoding="utf-8")
    assert re.findall(r"!\[.*\]\((.*)\)", text) == ["benchmarks/results/serving.svg", "docs/playground.png"]
    assert text.count("|---:") == 4


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_each_file_of_examples_runs(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(asyncio.to_thread(exec, compile(path.read_text(), path, "exec"), {"__name__": "__main__"}))
    assert capsys.readouterr().out
