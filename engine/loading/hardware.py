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
    cores = {_read(_TOPOLOGY.format(cpu)) or str(cpu) for cpu in cpus}
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
    fields = dict(_field(line) for line in (_read("/proc/cpuinfo") or "").split("\n\n")[0].splitlines())
    named = fields.get("model name") or platform.processor() or platform.machine()
    numbers = [f"{name} {fields[name]}" for name in ("cpu family", "model", "CPU part") if name in fields]
    return ", ".join([named, *numbers])


def available_memory() -> int | None:
    """Return the bytes of memory that can be used without swapping, or None where that is unknown."""
    for line in (_read("/proc/meminfo") or "").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _container_share() -> int | None:
    """Return the whole processors that a cgroup's quota allows, or None without one."""
    quota, _, period = (_read("/sys/fs/cgroup/cpu.max") or "max").partition(" ")
    return None if quota == "max" or not period else max(1, round(int(quota) / int(period)))


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip(), value.strip()


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None
