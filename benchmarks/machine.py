"""The machine under a benchmark: what it is, and what else it did meanwhile."""

from __future__ import annotations

import platform
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import TYPE_CHECKING, Any, TypeVar

import cpuinfo
import llama_cpp
import psutil

from engine.hardware import physical_cores
from engine.sampling import KERNELS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

CALM = 0.1
"""Processors that others may keep busy, or the host take away, while a round still counts as calm."""

_PACKAGES = ("nucleus-engine", "numpy", "llama-cpp-python", "torch")
_NOT_BUSY = {"idle", "iowait", "guest", "guest_nice"}  # a guest's time is also in the user's


@cache  # asking for the processor's name takes a second
def describe() -> dict[str, Any]:
    """Return the machine and what is installed, ready for JSON."""
    packages = {}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            packages[name] = version(name)
    return {
        "processor": cpuinfo.get_cpu_info().get("brand_raw", platform.processor()),
        "cores": physical_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "kernels": list(KERNELS),
        "llama.cpp": llama_cpp.llama_print_system_info().decode().strip(),
        "python": platform.python_version(),
        "packages": packages,
    }


def cpu_seconds(pid: int) -> float | None:
    """Return the seconds of processor time that a process has taken, or None if it has ended."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return None
    return times.user + times.system


class Elsewhere:
    """How many processors the rest of the machine keeps busy, from when this is made.

    Args:
        *pids: Processes, beside this one, whose work does not count as the rest; None is left out.
    """

    def __init__(self, *pids: int | None) -> None:
        self._pids = [pid for pid in pids if pid is not None]
        self._start = self._seconds(), time.perf_counter()

    def processors(self) -> float:
        """Return the average since the start."""
        seconds, clock = self._start
        return max(0.0, (self._seconds() - seconds) / (time.perf_counter() - clock))

    def _seconds(self) -> float:
        """Return the seconds that all processors have worked since boot, but for these processes."""
        times = psutil.cpu_times()._asdict()
        busy: float = sum(seconds for name, seconds in times.items() if name not in _NOT_BUSY)
        return busy - time.process_time() - sum(cpu_seconds(pid) or 0.0 for pid in self._pids)


def is_calm(elsewhere: float | None) -> bool:
    """Return True if a round was calm, or if it is not known."""
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
        values, elsewhere = zip(*calm_ones(rounds, lambda one: one[1]), strict=True)
        return cls(median(values), most(elsewhere), len(values), len(rounds))

    @property
    def is_calm(self) -> bool:
        """True if the rounds that count were calm."""
        return is_calm(self.elsewhere)

    def entry(self) -> dict[str, Any]:
        """Return the figure for JSON."""
        rounded = {k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(self).items()}
        return rounded | {"calm": self.is_calm}
