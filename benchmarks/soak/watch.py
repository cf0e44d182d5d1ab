"""A look at the scheduler of a service that runs, and at what it decides."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest.mock import patch

from engine.core.scheduler import Scheduler
from engine.kvcache.operations import Copy, Drop, Restore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.core.plan import Plan


class Watch:
    """Counts of what the plans say, over all steps.

    Attributes:
        preempted: Sequences that have lost their slot.
        shared: Prompts that began with what another slot held.
        restored: Prompts that began with what a kept text had.
        dropped: Kept texts that were forgotten.
    """

    def __init__(self) -> None:
        self.preempted = self.shared = self.restored = self.dropped = 0
        self._scheduler: Scheduler | None = None

    @property
    def scheduler(self) -> Scheduler:
        """The scheduler, which is seen at its first plan."""
        assert self._scheduler is not None, "nothing has been asked yet"
        return self._scheduler

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch every plan that is made while the context lasts."""
        original = Scheduler.plan

        def plan(scheduler: Scheduler) -> Plan:
            made = original(scheduler)
            self._note(scheduler, made)
            return made

        with patch.object(Scheduler, "plan", plan):
            yield

    def _note(self, scheduler: Scheduler, plan: Plan) -> None:
        """Count what one plan says, on the engine thread."""
        self._scheduler = scheduler
        self.preempted += len(plan.preempted)
        self.shared += sum(isinstance(operation, Copy) for operation in plan.cache)
        self.restored += sum(isinstance(operation, Restore) for operation in plan.cache)
        self.dropped += sum(isinstance(operation, Drop) for operation in plan.cache)
