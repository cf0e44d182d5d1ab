"""Runs the blocks of a page in order: one namespace for its Python, one folder for its files."""

from __future__ import annotations

import ast
import asyncio
import configparser
import io
import json
import os
import re
import shlex
import shutil
import sys
import tomllib
from contextlib import redirect_stdout
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE, OutputChecker
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.process import nucleus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.docs.blocks import Block

SHOWN = ("text", "mermaid")
"""What is only looked at; but a text with the title "output" is that of the block before."""
_READ: dict[str, Callable[[str], Any]] = {
    "go": str,
    "ini": lambda code: configparser.ConfigParser(strict=False, interpolation=None).read_string(code),
    "js": str,
    "json": json.loads,
    "toml": tomllib.loads,
    "yaml": lambda code: list(yaml.safe_load_all(code)),
}
_TOOLS = ("docker", "go", "node", "npm")
_STRICT_CURL = 'curl() { command curl --silent --show-error --fail-with-body "$@"; }\n'
"""A refusal fails a block of ``sh``; one that shows a refusal is a ``console``, whose output is compared."""
_PATIENCE = 60


class Runner:
    """The blocks of one page.

    Args:
        folder: Where the files of titled blocks lie, and where commands run.
        addresses: An address in the text -> the one to use.
    """

    def __init__(self, folder: Path, addresses: Mapping[str, str]) -> None:
        self._folder, self._addresses = folder, addresses
        self._namespace: dict[str, Any] = {"__name__": "__main__"}
        self._output = ""

    async def run(self, block: Block) -> None:
        """Run a block, or read it if its language cannot be run.

        Raises:
            Exception: whatever is wrong with it.
        """
        code = block.code
        for written, used in self._addresses.items():
            code = code.replace(written, used)
        if block.title and block.language != "text":
            (self._folder / block.title).write_text(code, encoding="utf-8")
        if block.language in _READ:
            _READ[block.language](code)
        elif block.language == "python":
            await self._run_python(block, code)
        elif block.language == "sh":
            await self._run_sh(code)
        elif block.language == "console":
            await self._run_console(code)
        elif block.title == "output":
            _compare(block.code, self._output)

    async def _run_python(self, block: Block, code: str) -> None:
        tree = ast.parse(code, block.page)
        ast.increment_lineno(tree, block.line - 1)
        if block.title:
            return
        with redirect_stdout(io.StringIO()) as output:
            await asyncio.to_thread(exec, compile(tree, block.page, "exec"), self._namespace)
        self._output = output.getvalue()

    async def _run_sh(self, code: str) -> None:
        commands = re.sub(r"\\\n", " ", code).splitlines()
        if any(command.startswith("nucleus serve") for command in commands):
            for command in filter(None, commands):
                await asyncio.to_thread(self._serve, shlex.split(command, comments=True)[2:])
            return
        status, self._output = await self._shell(_STRICT_CURL + code)
        assert status == 0, self._output

    async def _run_console(self, code: str) -> None:
        for part in re.split(r"^\$ ", code, flags=re.MULTILINE)[1:]:
            command = re.match(r"(?:.*\\\n)*.*\n", part)
            assert command is not None
            _, output = await self._shell(command[0])
            _compare(part[command.end() :], output)

    async def _shell(self, code: str) -> tuple[int | None, str]:
        tool = code.removeprefix(_STRICT_CURL).split(maxsplit=1)[0]
        if tool in _TOOLS and not shutil.which(tool):
            pytest.skip(f"{tool} is not on the PATH")
        plain = {name: value for name, value in os.environ.items() if not name.startswith("NUCLEUS_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{plain['PATH']}"
        shell = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", code),
            cwd=self._folder,
            env=plain | {"PATH": path, "NO_COLOR": "1", "COLUMNS": "80"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(shell.communicate(), _PATIENCE)
        return shell.returncode, output.decode()

    def _serve(self, arguments: list[str]) -> None:
        """Start a server, and end it once it is ready."""
        # A server starts elsewhere, so a file of the page needs its whole path.
        files = {name: self._folder / name for name in arguments if (self._folder / name).is_file()}
        with nucleus(*(files.get(argument, argument) for argument in arguments)) as server:
            server.signal()
            server.end()


def _compare(expected: str, output: str) -> None:
    expected = expected.replace("…", "...")
    assert OutputChecker().check_output(expected, output, ELLIPSIS | NORMALIZE_WHITESPACE), output
