"""The virtual environment of the servers that are not ours."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

from benchmarks.serving.process import ServerError

if TYPE_CHECKING:
    from pathlib import Path

XLLAMACPP = "xllamacpp"
LLAMA_CPP_PYTHON = "llama-cpp-python"


class Environment:
    """Made when it is first needed; what is in it stays.

    Args:
        folder: Where it is, or is to be.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self._folder / "bin" / "python"

    def install(self) -> None:
        """Install the peers, unless that was done before.

        llama-cpp-python comes in the version that the engine uses, so that both compute with one llama.cpp,
        and pip has its wheel already.

        Raises:
            ServerError: a command failed; its last line says why.
        """
        wanted = [XLLAMACPP, f"{LLAMA_CPP_PYTHON}[server]=={version(LLAMA_CPP_PYTHON)}"]
        done = self._folder / ".installed"
        if done.is_file() and done.read_text(encoding="utf-8").split() == wanted:
            return
        print(f"Installing {' and '.join(wanted)} into {self._folder}", flush=True)
        if not self.python.is_file():
            _run([sys.executable, "-m", "venv", str(self._folder)])
        pip = [str(self.python), "-m", "pip", "--disable-pip-version-check", "--no-input"]
        _run([*pip, "install", "--quiet", *wanted])
        done.write_text("\n".join(wanted), encoding="utf-8")

    def versions(self) -> dict[str, str]:
        """Return the versions of the peers that are installed."""
        script = (
            "import json; from importlib.metadata import distributions as d;"
            "print(json.dumps({x.metadata['Name'].replace('_', '-'): x.version for x in d()}))"
        )
        if not self.python.is_file():
            return {}
        found: dict[str, str] = json.loads(_run([str(self.python), "-c", script]))
        return {name: found[name] for name in (XLLAMACPP, LLAMA_CPP_PYTHON) if name in found}


def _run(command: list[str]) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603
    except subprocess.CalledProcessError as error:
        lines = f"{error.stdout}\n{error.stderr}".strip().split("\n")
        raise ServerError(f"installation failed: {lines[-1]}") from None
