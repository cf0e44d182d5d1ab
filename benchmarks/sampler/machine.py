"""What the figures were measured on, without a word about whose machine it is."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import llama_cpp

from engine.loading.hardware import physical_cores
from engine.sampling import KERNELS

_PACKAGES = ("nucleus-engine", "numpy", "llama-cpp-python", "torch")


def description() -> dict[str, object]:
    """Describe the machine and what is installed, ready for JSON."""
    return {
        "processor": _processor(),
        "cores": physical_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "kernels": list(KERNELS),
        "llama.cpp": llama_cpp.llama_print_system_info().decode().strip(),
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def _processor() -> str:
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    named = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    return named[1] if named else platform.processor()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
