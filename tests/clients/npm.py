"""The packages for Node of the lock file in ``node/``, installed once."""

from __future__ import annotations

import fcntl
import functools
import shutil
import subprocess
from pathlib import Path

SOURCES = Path(__file__).parent / "node"
_INSTALLED = Path(__file__).parents[2] / "build" / "clients" / "node"


def is_at_hand() -> bool:
    """Return True if node and npm are on the PATH."""
    return bool(shutil.which("node") and shutil.which("npm"))


@functools.cache
def install() -> Path:
    """Return the folder with ``node_modules`` and our scripts; what is installed already stays."""
    _INSTALLED.mkdir(parents=True, exist_ok=True)
    with (_INSTALLED / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # pytest has several processes
        for file in SOURCES.iterdir():
            shutil.copy(file, _INSTALLED)
        wanted, stamp = _INSTALLED / "package-lock.json", _INSTALLED / "installed.json"
        if not stamp.exists() or stamp.read_text() != wanted.read_text():
            subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=_INSTALLED, check=True)
            shutil.copy(wanted, stamp)
    return _INSTALLED
