"""The server's side of a long run: its memory, what its scheduler decides, and what it logs."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, linear_regression
from typing import TYPE_CHECKING
from unittest.mock import patch

from benchmarks.report import Table
from engine.core.scheduler import Scheduler
from engine.kvcache.operations import Copy, Drop, Restore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from engine.core.plan import Plan

STATM = Path("/proc/self/statm")
_MIB = 1 << 20
_LONGEST_WARM_UP = 300.0  # seconds
_WARM_UP_SHARE = 1 / 6  # of a run that is shorter than six times that
_MOST_MIB, _MOST_SHARE = 8.0, 0.02

SAMPLES = Table(
    {"minute": ">6.1f", "RSS, MiB": ">10.1f", "blocks": ">10,d", "running": ">9d", "waiting": ">9d"}
    | {"cells": ">7d", "preempted": ">11d"}
)
MEMORY = Table(
    {"memory": "<10", "warm": ">10,.1f", "end": ">10,.1f", "most": ">10,.1f", "an hour": ">+12,.1f"}
)


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
    """Cells of the KV cache in use, by running sequences and by saved prefixes."""
    preempted: int
    """Sequences that have lost their slot so far."""

    def text(self) -> str:
        """Write a line of :data:`SAMPLES`."""
        counts = self.running, self.waiting, self.cells, self.preempted
        return SAMPLES.line(self.seconds / 60, self.rss_mib, self.blocks, *counts)


class Watch(logging.Handler):
    """Counts what the plans of all steps say, and records of level ERROR and above, of all loggers.

    Attributes:
        decisions: Sequences that lost their slot; prompts that began with what another slot held, or with
            what the host cache had; prefixes that the host cache dropped.
        n_errors: Errors that were logged: nothing that clients do should bring one about.
    """

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.decisions = {"preempted": 0, "shared": 0, "restored": 0, "dropped": 0}
        self.n_errors = 0
        self.first_error = ""
        self._scheduler: Scheduler | None = None

    @property
    def scheduler(self) -> Scheduler:
        """The scheduler, which is seen at its first plan."""
        assert self._scheduler is not None, "nothing has been asked yet"
        return self._scheduler

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch for as long as the context lasts."""
        plan_of = Scheduler.plan

        def plan(scheduler: Scheduler) -> Plan:
            self._note(scheduler, made := plan_of(scheduler))
            return made

        logging.getLogger().addHandler(self)
        try:
            with patch.object(Scheduler, "plan", plan):
                yield
        finally:
            logging.getLogger().removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.n_errors += 1
        self.first_error = self.first_error or f"{record.name}: {self.format(record)}"

    def sample(self, seconds: float) -> Sample:
        """Read all numbers of a sample (``proc_pid_statm(5)``)."""
        resident = int(STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
        scheduler = self.scheduler
        return Sample(
            seconds=round(seconds, 2),
            rss_mib=round(resident / _MIB, 3),
            blocks=sys.getallocatedblocks(),
            running=scheduler.n_running,
            waiting=scheduler.n_waiting,
            cells=scheduler.slots.used_cells,
            preempted=self.decisions["preempted"],
        )

    def _note(self, scheduler: Scheduler, plan: Plan) -> None:
        """Count what one plan says, on the engine thread."""
        self._scheduler = scheduler
        self.decisions["preempted"] += len(plan.preempted)
        for name, kind in (("shared", Copy), ("restored", Restore), ("dropped", Drop)):
            self.decisions[name] += sum(isinstance(operation, kind) for operation in plan.cache)


@dataclass(frozen=True, slots=True)
class Memory:
    """The process's memory after the warm-up, in MiB; growth is the slope of a line through all samples."""

    warm_up_seconds: float
    warm_mib: float
    last_mib: float
    most_mib: float
    mib_an_hour: float
    first_third_mib: float
    """The mean of the first third of the samples."""
    last_third_mib: float
    warm_blocks: int
    last_blocks: int
    blocks_an_hour: float

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Memory | None:
        """Read the samples of a run; None if there are fewer than three of them after the warm-up."""
        warm_up = min(_LONGEST_WARM_UP, samples[-1].seconds * _WARM_UP_SHARE) if samples else 0.0
        warm = [sample for sample in samples if sample.seconds >= warm_up]
        if not (third := len(warm) // 3):
            return None
        sizes, blocks = [sample.rss_mib for sample in warm], [sample.blocks for sample in warm]
        hours = [sample.seconds / 3600 for sample in warm]
        return cls(
            warm_up_seconds=round(warm_up, 1),
            warm_mib=sizes[0],
            last_mib=sizes[-1],
            most_mib=max(sizes),
            mib_an_hour=round(linear_regression(hours, sizes).slope, 2),
            first_third_mib=round(fmean(sizes[:third]), 3),
            last_third_mib=round(fmean(sizes[-third:]), 3),
            warm_blocks=blocks[0],
            last_blocks=blocks[-1],
            blocks_an_hour=round(linear_regression(hours, blocks).slope),
        )

    @property
    def allowed_mib(self) -> float:
        """How much more the last third may have than the first."""
        return max(_MOST_MIB, _MOST_SHARE * self.first_third_mib)

    @property
    def grown_mib(self) -> float:
        """How much more it has."""
        return self.last_third_mib - self.first_third_mib

    def lines(self) -> Iterator[str]:
        """Write the lines of :data:`MEMORY`."""
        yield MEMORY.line("RSS, MiB", self.warm_mib, self.last_mib, self.most_mib, self.mib_an_hour)
        yield MEMORY.line("blocks", self.warm_blocks, self.last_blocks, None, self.blocks_an_hour)
