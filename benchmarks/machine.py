"""The machine under a benchmark: what it is, and what else it did meanwhile."""

from __future__ import annotations

import os
import platform
import re
import time
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, TypeVar

import llama_cpp

from engine.loading.hardware import physical_cores
from engine.sampling import KERNELS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

CALM = 0.1
"""Processors that others may keep busy, or the host take away, while a round still counts as calm."""

_PACKAGES = ("nucleus-engine", "numpy", "llama-cpp-python", "torch")


def describe() -> dict[str, Any]:
    """Return the machine and what is installed, ready for JSON."""
    return {
        "processor": _processor(),
        "cores": physical_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "kernels": list(KERNELS),
        "llama.cpp": llama_cpp.llama_print_system_info().decode().strip(),
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def cpu_seconds(pid: int) -> float | None:
    """Return a process's processor time, or None where the system does not tell (``proc_pid_stat(5)``)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    user, system = text.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


class Elsewhere:
    """How many processors the rest of the machine keeps busy, from when this is made.

    Args:
        pid: A process, beside this one, whose work does not count as the rest.
    """

    def __init__(self, pid: int | None = None) -> None:
        self._pid = pid
        self._start = _busy_seconds(), self._own(), time.perf_counter()

    def processors(self) -> float | None:
        """Return the average since the start, or None where the system does not tell."""
        (busy, own, clock), now = self._start, _busy_seconds()
        if busy is None or now is None:
            return None
        return max(0.0, ((now - busy) - (self._own() - own)) / (time.perf_counter() - clock))

    def _own(self) -> float:
        return time.process_time() + ((cpu_seconds(self._pid) or 0.0) if self._pid else 0.0)


def is_calm(elsewhere: float | None) -> bool:
    """Return True if a round was calm, or if the system does not tell."""
    return elsewhere is None or elsewhere <= CALM


def calm_ones(rounds: Sequence[T], elsewhere: Callable[[T], float | None]) -> list[T]:
    """Return the calm rounds, or all of them if none was.

    They are chosen by what the rest of the machine did, and never by their result.
    """
    return [one for one in rounds if is_calm(elsewhere(one))] or list(rounds)


def most(elsewhere: Sequence[float | None]) -> float | None:
    """Return the most processors of those that are known, or None."""
    return max((processors for processors in elsewhere if processors is not None), default=None)


@dataclass(frozen=True, slots=True)
class Figure:
    """The median of the rounds that count."""

    value: float
    elsewhere: float | None
    """Most processors that something else kept busy in any of those."""
    counted: int
    rounds: int

    @classmethod
    def of(cls, rounds: Sequence[tuple[float, float | None]]) -> Figure | None:
        """Make a figure of each round's value and the processors busy elsewhere; None of no rounds."""
        if not rounds:
            return None
        chosen = calm_ones(rounds, lambda one: one[1])
        value = median(value for value, _ in chosen)
        return cls(value, most([elsewhere for _, elsewhere in chosen]), len(chosen), len(rounds))

    @property
    def is_calm(self) -> bool:
        """True if the rounds that count were calm."""
        return is_calm(self.elsewhere)

    def entry(self) -> dict[str, Any]:
        """Return the figure for JSON."""
        rounded = {k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(self).items()}
        return rounded | {"calm": self.is_calm}


def _busy_seconds() -> float | None:
    """Return the seconds that all processors have worked since boot (``proc_stat(5)``)."""
    try:
        user, nice, system, _idle, _iowait, *rest = Path("/proc/stat").read_text().split()[1:9]
    except OSError:
        return None
    return sum(map(int, (user, nice, system, *rest))) / os.sysconf("SC_CLK_TCK")


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
