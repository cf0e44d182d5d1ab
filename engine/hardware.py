"""What this machine offers to one process."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Literal

_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


def physical_cores() -> int:
    """Return the cores that this process may use; two hardware threads of one core count once.

    llama.cpp's threads wait for each other at every operation, so two on one core, or more than a container's
    share of time, are slower than fewer.
    """
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    cpus = os.sched_getaffinity(0)
    cores = {read_text(_TOPOLOGY.format(cpu)) or str(cpu) for cpu in cpus}
    return max(1, min(len(cores), _container_share() or len(cores)))


def gpu_layers(asked: int | Literal["auto"], *, has_gpu: bool) -> tuple[int, str]:
    """Return how many layers are put on a GPU, -1 for all of them, and the reason."""
    if asked != "auto":
        return asked, "as asked"
    if has_gpu:
        return -1, "this llama.cpp was built with a GPU backend"
    return 0, "this llama.cpp was built without a GPU backend"


def processor() -> str:
    """Return what the processor calls itself, such as ``AMD EPYC 7763, cpu family 25, model 1``."""
    fields = dict(_field(line) for line in (read_text("/proc/cpuinfo") or "").split("\n\n")[0].splitlines())
    named = fields.get("model name") or platform.processor() or platform.machine()
    numbers = [f"{name} {fields[name]}" for name in ("cpu family", "model", "CPU part") if name in fields]
    return ", ".join([named, *numbers])


def available_memory() -> int | None:
    """Return the bytes of memory that can be used without swapping, or None where that is unknown.

    It is what the machine has, or what a container's limit leaves, if that is less.
    """
    known = [room for room in (_machine_room(), _container_room()) if room is not None]
    return min(known, default=None)


def resident_memory() -> int | None:
    """Return the bytes of memory that this process holds, mapped files included, or None if unknown."""
    return _counter("/proc/self/status", "VmRSS:", unit=1024)


def _machine_room() -> int | None:
    return _counter("/proc/meminfo", "MemAvailable:", unit=1024)


def _container_room() -> int | None:
    """Return the bytes that a cgroup's limit leaves, or None without one."""
    limit, used = (read_text(f"/sys/fs/cgroup/memory.{name}") or "max" for name in ("max", "current"))
    if "max" in (limit, used):
        return None
    # Copies of files, as of the model, can be dropped.
    droppable = _counter("/sys/fs/cgroup/memory.stat", "inactive_file") or 0
    return max(0, int(limit) - int(used) + droppable)


def _counter(path: str, name: str, unit: int = 1) -> int | None:
    """Return the number behind a name in a file of such lines, or None."""
    for line in (read_text(path) or "").splitlines():
        if line.split()[:1] == [name]:
            return int(line.split()[1]) * unit
    return None


def _container_share() -> int | None:
    """Return the whole processors that a cgroup's quota allows, or None without one."""
    quota, _, period = (read_text("/sys/fs/cgroup/cpu.max") or "max").partition(" ")
    return None if quota == "max" or not period else max(1, round(int(quota) / int(period)))


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip(), value.strip()


def read_text(path: str) -> str | None:
    """Return what a file of the system says, or None where there is none."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None
