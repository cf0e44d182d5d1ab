"""The program that runs the fuzzers for long."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import pytest

from tests.fuzz import effort
from tests.fuzz.__main__ import FUZZERS, _pytest, main


def test_every_fuzzer_has_a_name() -> None:
    files = set(Path(__file__).parent.glob("test_*.py")) - {Path(__file__)}
    assert set(FUZZERS.values()) == files


def test_rounds_go_on_until_something_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[list[str]] = []

    def run(arguments: list[str]) -> int:
        calls.append(arguments)
        return len(calls) == 3

    assert main(["--minutes", "600", "texts"], run) == 1
    assert [Path(call[-1]).name for call in calls] == ["test_texts.py"] * 3
    assert "nothing was found" not in capsys.readouterr().out


def test_the_run_ends_when_the_time_is_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = itertools.count(0, 25)
    monkeypatch.setattr("tests.fuzz.__main__.monotonic", lambda: next(clock))
    assert main(["--minutes", "1"], lambda _: 0) == 0
    assert capsys.readouterr().out.startswith("2 rounds of ")


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["nonsense"], lambda _: 0)
    assert "no fuzzer 'nonsense', only json_bodies" in capsys.readouterr().err


def test_a_round_tries_more_than_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(effort.FACTOR, raising=False)
    assert effort.examples(100).max_examples == 100
    monkeypatch.setattr(subprocess, "call", lambda _, env: int(env[effort.FACTOR]))
    assert _pytest([]) == 5
    monkeypatch.setenv(effort.FACTOR, "20")
    assert effort.examples(100).max_examples == 2000
