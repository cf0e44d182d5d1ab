"""What people see: every verb in a terminal of 80 and of 40 columns, with and without colour.

``pytest tests/commands/test_snapshots.py --snapshot-update`` writes what is seen now; look at it before you
commit it.
"""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.commands.stage import END, PULLED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from syrupy.assertion import SnapshotAssertion

VERBS = (
    "serve",
    "complete",
    "chat",
    "top",
    "tokenize",
    "score",
    "models",
    "pull",
    "rm",
    "tune",
    "bench",
    "doctor",
)
TEXT = str(Path(__file__).parent / "story.txt")
FRANCE = "The capital of France is"
SMALL = ("--ctx-size", "256", "--speculation", "off", "--threads", "1", "--batch-invariant", "off")
RUNS: dict[str, list[str]] = {
    "help": ["--help"],
    **{f"{verb} help": [verb, "--help"] for verb in VERBS},
    "complete, shaded": [
        "complete",
        FRANCE,
        "--temperature",
        "0",
        "--max-tokens",
        "8",
        "--logprobs",
        "0",
        "--echo",
        *SMALL,
    ],
    "complete, choices": ["complete", FRANCE, "--temperature", "0", "--max-tokens", "4", "--n", "2", *SMALL],
    "tokenize": ["tokenize", "Two words"],
    "a wrong value": ["complete", "a", "--temperature", "3"],
    "a wrong flag": ["complete", "a", "--temprature", "1"],
    "no such model": ["complete", "a", "--model", "smollm2-135m-instuct"],
    "doctor": ["doctor"],
    "models": ["models"],
    "score": ["score", TEXT, *SMALL],
    "score, tokens": ["score", TEXT, "--tokens", *SMALL],
    "pull": ["pull", PULLED],
    "pull, it is here": ["pull", PULLED],
    "rm": ["rm", PULLED],
    "tune": ["tune"],
    "bench": ["bench", *SMALL],
    "top": ["top", "--once"],
    "serve, a port that cannot be": ["serve", "--http-port", "70000"],
}
SETTINGS = [(80, True), (80, False), (40, True), (40, False)]
_BAR = re.compile(r"%\||0:00:0\d")
_PRECISE = re.compile(r"\d+\.\d{3,}")
NARROWEST = 44
"""Columns that the list of options takes at least."""


def seen(columns: int, *, colour: bool, folder: Path) -> dict[str, str]:
    """Return what a terminal shows of each run."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, columns))
    plain = {name: value for name, value in os.environ.items() if not name.startswith("NUCLEUS_")}
    environment = plain | {"TERM": "xterm-256color", "COLORTERM": "truecolor", "XDG_CACHE_HOME": str(folder)}
    environment.pop("COLUMNS", None)
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.commands.stage", *map(json.dumps, RUNS.values())],
        env=environment if colour else environment | {"NO_COLOR": "1"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    whole = b"".join(_pieces(ours)).decode()
    assert process.wait(60) == 0, whole
    return dict(zip(RUNS, _steady(whole).split(END), strict=False))


def _steady(text: str) -> str:
    """Leave out what no two runs have in common: bars, and digits that differ between processors."""
    lines = [line for line in text.replace("\r\n", "\n").split("\n") if not _BAR.search(line)]
    return _PRECISE.sub(lambda number: re.sub(r"\d", "#", number[0]), "\n".join(lines))


def _pieces(file: int) -> Iterator[bytes]:
    try:
        while piece := os.read(file, 1 << 16):
            yield piece
    except OSError:  # how the end of a terminal is told
        pass
    finally:
        os.close(file)


@pytest.fixture(
    scope="module", params=SETTINGS, ids=lambda setting: f"{setting[0]}-{'' if setting[1] else 'no-'}colour"
)
def screen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    columns, colour = request.param
    return seen(columns, colour=colour, folder=tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("run", RUNS)
def test_what_is_seen(screen: dict[str, str], run: str, snapshot: SnapshotAssertion) -> None:
    assert screen[run].strip("\n").replace("\x1b", "␛") == snapshot


def test_nothing_is_wider_than_the_terminal(screen: dict[str, str], request: pytest.FixtureRequest) -> None:
    columns = request.node.callspec.params["screen"][0]
    for name, text in screen.items():
        if name.endswith("help"):
            for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines():
                assert len(line) <= max(columns, NARROWEST), (name, line)


def test_colours_can_be_turned_off(screen: dict[str, str], request: pytest.FixtureRequest) -> None:
    has_colour = request.node.callspec.params["screen"][1]
    assert bool(re.search(r"\x1b\[[0-9;]*[3-4][0-9;]*m", screen["complete, shaded"])) == has_colour
