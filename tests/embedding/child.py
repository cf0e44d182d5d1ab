"""Programs that embed the engine, each a function that runs in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import LLM

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
PATIENCE_S = 100
"""A program that takes longer hangs; nothing is measured with it."""
LONG: dict[str, Any] = {"prompt": "a", "max_tokens": 600, "ignore_eos": True}
SHORT: dict[str, Any] = {"prompt": "abc", "max_tokens": 4, "temperature": 0}


def start(program: Callable[..., None], *arguments: object, flags: tuple[str, ...] = ()) -> Any:
    """Run a module's function with strings as its arguments, to its end."""
    code = f"import sys; from {program.__module__} import {program.__name__} as run; run(*sys.argv[1:])"
    return subprocess.run(
        [sys.executable, *flags, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def check(program: Callable[..., None], *arguments: object, flags: tuple[str, ...] = ()) -> None:
    """Run a program that ends well and complains of nothing."""
    run = start(program, *arguments, flags=flags)
    assert (run.returncode, run.stderr) == (0, ""), run.stdout + run.stderr


def load(model: str) -> LLM:
    return LLM(model, parallel=4, threads=1, speculation="off")  # a long answer is to take its time


def ask(llm: LLM) -> str:
    text: str = llm.complete(**SHORT).choices[0].text
    return text
