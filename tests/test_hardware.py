"""What a machine offers, by the files in which Linux tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from engine import hardware

if TYPE_CHECKING:
    from collections.abc import Mapping

GIB = 1 << 30
MEMINFO = {"/proc/meminfo": f"MemTotal: {8 << 20} kB\nMemAvailable:    {4 << 20} kB"}
CGROUP = "/sys/fs/cgroup/memory."


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        (MEMINFO, 4 * GIB),
        (MEMINFO | {f"{CGROUP}max": "max", f"{CGROUP}current": "5"}, 4 * GIB),
        (MEMINFO | {f"{CGROUP}max": str(2 * GIB), f"{CGROUP}current": str(GIB)}, GIB),
        (
            MEMINFO
            | {
                f"{CGROUP}max": str(2 * GIB),
                f"{CGROUP}current": str(GIB),
                f"{CGROUP}stat": f"anon 7\nfile 9\ninactive_file {GIB // 2}\nactive_file 3",
            },
            3 * GIB // 2,
        ),
        (MEMINFO | {f"{CGROUP}max": str(9 * GIB), f"{CGROUP}current": str(GIB)}, 4 * GIB),
        ({f"{CGROUP}max": "10", f"{CGROUP}current": "20"}, 0),
    ],
    ids=[
        "unknown",
        "machine",
        "no limit",
        "limit",
        "copies of files",
        "limit beyond the machine",
        "overdrawn",
    ],
)
def test_available_memory_is_the_least_that_any_limit_leaves(
    files: Mapping[str, str], expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "read_text", files.get)
    assert hardware.available_memory() == expected
