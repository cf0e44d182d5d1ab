"""The command run in this process, as ``main`` runs it."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, NamedTuple

from engine.cli import main

if TYPE_CHECKING:
    import pytest


class Ended(NamedTuple):
    """How a run has ended."""

    status: int
    out: str
    err: str


class Input(io.StringIO):
    """Standard input from a pipe."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.buffer = io.BytesIO(data)  # type: ignore[misc]


class Command:
    """Runs the command; each run has its own output."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: str, stdin: bytes = b"") -> Ended:
        self._monkeypatch.setattr(sys, "argv", ["nucleus", *arguments])
        self._monkeypatch.setattr(sys, "stdin", Input(stdin))
        try:
            main()
        except SystemExit as end:
            captured = self._capsys.readouterr()
            return Ended(int(end.code or 0), captured.out, captured.err)
        raise AssertionError("main always exits")
