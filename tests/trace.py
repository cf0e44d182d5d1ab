"""What the engine thread of a running service does, as events that a test can wait for."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from engine.backend.llama import LlamaBackend
from engine.core.loop import StepLoop

if TYPE_CHECKING:
    from collections.abc import Hashable

    import pytest

    from engine.backend.base import Batch
    from engine.core.sequence import Prompt

PATIENCE = 60.0


class Trace:
    """What the engine thread does, in order: requests taken, batches decoded, requests dropped."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[str | frozenset[int]] = []
        self._happened = threading.Condition()
        submit, cancel, start = StepLoop.submit, StepLoop.cancel, LlamaBackend.start

        def traced_submit(loop: StepLoop, prompt: Prompt) -> None:
            self.scheduler = loop.scheduler
            submit(loop, prompt)
            self._note("submit")

        def traced_cancel(loop: StepLoop, owner: Hashable) -> None:
            cancel(loop, owner)
            self._note("cancel")

        def traced_start(backend: LlamaBackend, batch: Batch) -> None:
            self._note(frozenset(batch.slots[: batch.size].tolist()))
            start(backend, batch)

        monkeypatch.setattr(StepLoop, "submit", traced_submit)
        monkeypatch.setattr(StepLoop, "cancel", traced_cancel)
        monkeypatch.setattr(LlamaBackend, "start", traced_start)

    def _note(self, event: str | frozenset[int]) -> None:
        with self._happened:
            self.events.append(event)
            self._happened.notify_all()

    async def until(self, event: str, count: int = 1) -> None:
        """Wait until something has happened so many times."""
        assert await asyncio.to_thread(self._wait, event, count), f"no {count}th {event} in {self.events}"

    def _wait(self, event: str, count: int) -> bool:
        with self._happened:
            return self._happened.wait_for(lambda: self.events.count(event) >= count, PATIENCE)

    def decodes_after(self, event: str) -> list[frozenset[int]]:
        return [each for each in self.events[self.events.index(event) :] if isinstance(each, frozenset)]
