"""What this machine offers to one process."""

from __future__ import annotations

import os
from pathlib import Path

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


def available_memory() -> int | None:
    """Return the bytes of memory that can be used without swapping, or None where that is unknown."""
    for line in (read_text("/proc/meminfo") or "").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _container_share() -> int | None:
    """Return the whole processors that a cgroup's quota allows, or None without one."""
    quota, _, period = (read_text("/sys/fs/cgroup/cpu.max") or "max").partition(" ")
    return None if quota == "max" or not period else max(1, round(int(quota) / int(period)))


def read_text(path: str) -> str | None:
    """Return what a file of the system says, or None where there is none."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None
