"""How the command ends when its surroundings fail: in one line at most, with the status a shell expects."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.embedding.child import ROOT
from tests.test_cli import NUCLEUS, environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMPLETE = '"$NUCLEUS" complete abc --model "$TINY" --max-tokens 3000 --threads 1'
SERVE = '"$NUCLEUS" serve "$TINY" --http-port 0 --grpc-port 0'
FULL = "nucleus: No space left on device. `nucleus --debug …` shows where.\n"
PROGRAM = """
import sys
import engine.llm
from engine.cli import main

def fail(*_, **__):
    raise ZeroDivisionError("two\\nlines")

engine.llm.LLM.stream = fail
main()
"""
INTERRUPTED_IMPORT = """
import sys

where = sys.argv.pop(1)

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == where:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt())
from engine.cli import main
main()
"""


def shell(line: str, tiny: Path, **settings: str) -> tuple[int, str]:
    """Run a line in bash; return the status of the pipeline and what was written to standard error."""
    run = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        env=environment(NUCLEUS=NUCLEUS, TINY=str(tiny), **settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=100,
        check=False,
    )
    return run.returncode, run.stderr.decode()


@pytest.mark.parametrize(
    ("what", "unbuffered"),
    [(COMPLETE, "1"), (COMPLETE, ""), (SERVE, ""), ('"$NUCLEUS" --help', ""), ('"$NUCLEUS" --version', "1")],
)
def test_a_full_disk_is_one_line(tiny: Path, what: str, unbuffered: str) -> None:
    assert shell(f"{what} >/dev/full", tiny, PYTHONUNBUFFERED=unbuffered) == (1, FULL)


@pytest.mark.parametrize(
    "line",
    [
        f"{COMPLETE} | true",  # with `head` it may be done before its reader is gone
        f"{SERVE} | head -n 1",
        '"$NUCLEUS" --help | true',
        '"$NUCLEUS" no-such-verb 2>&1 >/dev/null | true',
    ],
)
def test_a_pipe_that_nobody_reads_ends_it_as_a_signal_would(tiny: Path, line: str) -> None:
    assert shell(line, tiny) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (f"{COMPLETE} --max-tokens 2 >&-", 0),
        (f"{COMPLETE} --max-tokens 2 <&- >&- 2>&-", 0),
        (f"{COMPLETE} --max-tokens 0 >&- 2>&-", 1),
        (f"{COMPLETE} --max-tokens 0 2>/dev/full", 1),
        ('"$NUCLEUS" no-such-verb 2>/dev/full', 1),
    ],
)
def test_a_stream_that_is_closed_is_no_trouble(tiny: Path, line: str, status: int) -> None:
    assert shell(line, tiny) == (status, "")


def test_what_is_meant_for_a_closed_stream_goes_nowhere_else(tiny: Path, tmp_path: Path) -> None:
    """The error would stand in the answer's place."""
    said = tmp_path / "said"
    assert shell(f"{COMPLETE} --max-tokens 0 >{said} 2>&-", tiny)[0] == 1
    assert said.read_text() == ""


@contextmanager
def completing(tiny: Path, *, stdout: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``nucleus complete`` with a long answer."""
    command = [NUCLEUS, "complete", "abc", "--model", str(tiny), "--max-tokens", "8000", "--threads", "1"]
    command += ["--speculation", "off"]  # so that it takes its time
    with subprocess.Popen(
        command, env=environment(), stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE
    ) as process:
        yield process


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGHUP, -signal.SIGHUP), (signal.SIGTERM, -15)]
)
def test_a_signal_ends_it_without_a_word(tiny: Path, number: int, status: int) -> None:
    with completing(tiny, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(1)
        process.send_signal(number)
        assert process.stderr.read() == b""
        process.stdout.read()
    assert process.returncode == status


def test_a_terminal_that_goes_away_is_one_line(tiny: Path) -> None:
    """As it is for what `nohup` or `setsid` has started: no signal comes."""
    terminal, its_end = pty.openpty()
    with completing(tiny, stdout=its_end) as process:
        assert process.stderr is not None
        os.close(its_end)
        assert os.read(terminal, 1)
        os.close(terminal)
        assert process.stderr.read() == FULL.replace("No space left on device", "Input/output error").encode()
    assert process.returncode == 1


@pytest.mark.parametrize("module", ["typer", "llama_cpp"])
def test_an_interrupt_before_it_has_begun_is_quiet_too(tiny: Path, module: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED_IMPORT, module, "complete", "abc", "--model", str(tiny)]
    run = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, check=False)
    assert (run.returncode, run.stderr) == (130, b"")


@pytest.mark.parametrize("asked", ["not", "by flag", "by environment"])
def test_a_fault_of_ours_is_one_line_unless_its_traceback_is_asked_for(tiny: Path, asked: str) -> None:
    flags = ["--debug"] if asked == "by flag" else []
    settings = {"NUCLEUS_DEBUG": "1"} if asked == "by environment" else {}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, *flags, "complete", "abc", "--model", str(tiny)],
        cwd=ROOT,
        env=environment(**settings),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    if asked == "not":
        assert run.stderr == "nucleus: ZeroDivisionError: two lines. `nucleus --debug …` shows where.\n"
    else:
        assert run.stderr.startswith("Traceback")
        assert run.stderr.endswith("\nnucleus: ZeroDivisionError: two lines\n")
