"""What the server's process is like at one moment."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.soak.watch import Watch

_STATM = Path("/proc/self/statm")
_MIB = 1 << 20

HEADING = (
    f"{'minute':>6}{'RSS, MiB':>10}{'blocks':>10}{'running':>9}{'waiting':>9}{'cells':>7}{'preempted':>11}"
)
"""Of the lines that :meth:`Sample.text` writes."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Some numbers, all read from the event loop while the engine thread works on."""

    seconds: float
    """Since the clients began."""
    rss_mib: float
    blocks: int
    """Blocks of memory that Python's own allocator has given out."""
    running: int
    waiting: int
    cells: int
    """Cells of the KV cache in use, by running sequences and by texts that are kept."""
    preempted: int
    """Sequences that have lost their slot so far."""

    @classmethod
    def take(cls, seconds: float, watch: Watch) -> Sample:
        """Read all of them."""
        scheduler = watch.scheduler
        return cls(
            seconds=round(seconds, 2),
            rss_mib=round(_resident_bytes() / _MIB, 3),
            blocks=sys.getallocatedblocks(),
            running=scheduler.n_running,
            waiting=scheduler.n_waiting,
            cells=scheduler.slots.used_cells,
            preempted=watch.preempted,
        )

    def text(self) -> str:
        """Write a line of the table."""
        return (
            f"{self.seconds / 60:6.1f}{self.rss_mib:10.1f}{self.blocks:10,}{self.running:9}{self.waiting:9}"
            f"{self.cells:7}{self.preempted:11}"
        )


def can_be_taken() -> bool:
    """Tell whether the system says how much memory a process takes."""
    return _STATM.exists()


def _resident_bytes() -> int:
    """Return the memory that this process has in RAM (``proc_pid_statm(5)``)."""
    return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
