"""The progress bar: there when somebody looks on, and silent otherwise."""

from __future__ import annotations

import io
import sys
import types
from typing import TYPE_CHECKING

import pytest
from typing_extensions import override

from tests.many.conftest import quick_llm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine import LLM


class Screen(io.StringIO):
    """Standard error, with or without a terminal."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    @override
    def isatty(self) -> bool:
        return self._is_terminal


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    with quick_llm() as quick:
        yield quick


def standard_error(monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool = True) -> Screen:
    """Put one of ours in the place of pytest's, which is there only once a test has begun."""
    screen = Screen(is_terminal=is_terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


def test_a_terminal_shows_how_far_it_is(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = standard_error(monkeypatch)
    llm.generate(["A", "B", "\ud800"], max_tokens=2)
    last = terminal.getvalue().split("\r")[-1]
    assert "100%" in last
    assert "3/3" in last
    assert " prompts/s" in last
    assert " tokens/s" in last


def test_how_many_there_are_may_be_unknown(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = standard_error(monkeypatch)
    llm.generate(iter(["A", "B", "C"]), max_tokens=2)
    assert "3 prompts" in terminal.getvalue()
    assert "%" not in terminal.getvalue()


def test_a_score_is_shown_in_texts(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = standard_error(monkeypatch)
    llm.score(["ABC", "D"])
    assert "2/2" in terminal.getvalue()
    assert " texts/s" in terminal.getvalue()


def test_who_iterates_has_the_terminal_to_himself(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = standard_error(monkeypatch)
    list(llm.generate_iter(["A"], max_tokens=2))
    llm.generate(["A"], max_tokens=2, progress=False)
    assert terminal.getvalue() == ""
    list(llm.generate_iter(["A"], max_tokens=2, progress=None))
    assert "1/1" in terminal.getvalue()


def test_a_file_is_not_written_to_unless_that_is_asked_for(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = standard_error(monkeypatch, is_terminal=False)
    llm.generate(["A"], max_tokens=2)
    assert screen.getvalue() == ""
    llm.generate(["A"], max_tokens=2, progress=True)
    assert "1/1" in screen.getvalue()


def test_there_may_be_no_standard_error(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert llm.generate(["A"], max_tokens=2)


def test_a_notebook_looks_on(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = standard_error(monkeypatch, is_terminal=False)
    monkeypatch.setitem(sys.modules, "ipykernel.zmqshell", types.ModuleType("ipykernel.zmqshell"))
    llm.generate(["A"], max_tokens=2)
    assert "1/1" in screen.getvalue()


def test_the_line_is_ended_when_the_work_ends_early(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = standard_error(monkeypatch)
    results = llm.generate_iter(["A", "B", "C"], max_tokens=2, progress=True)
    next(results)
    results.close()
    assert terminal.getvalue().endswith("\n")
