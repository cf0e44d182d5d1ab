"""An engine that tests watch and hold up."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from tests.grpc.calls import PATIENCE

if TYPE_CHECKING:
    import pytest

    from engine.service.service import CompletionService


class Watched:
    """An engine whose submissions and cancellations can be waited for, and whose model can be held up."""

    def __init__(self, service: CompletionService, monkeypatch: pytest.MonkeyPatch) -> None:
        engine = service.engine
        self._service = service
        self._submitted: asyncio.Queue[None] = asyncio.Queue()
        self._cancelled: asyncio.Queue[None] = asyncio.Queue()
        self._may_run = threading.Event()
        self.go()
        submit, cancel, start = engine.submit, engine.cancel, engine.backend.start

        def watched_submit(prompts: Any) -> Any:
            run = submit(prompts)
            self._submitted.put_nowait(None)
            return run

        def watched_cancel(run: Any) -> None:
            cancel(run)
            self._cancelled.put_nowait(None)

        def held_start(batch: Any) -> None:
            self._may_run.wait(PATIENCE)
            start(batch)

        monkeypatch.setattr(engine, "submit", watched_submit)
        monkeypatch.setattr(engine, "cancel", watched_cancel)
        monkeypatch.setattr(engine.backend, "start", held_start)

    def hold(self) -> None:
        self._may_run.clear()

    def go(self) -> None:
        self._may_run.set()

    async def submitted(self) -> None:
        await asyncio.wait_for(self._submitted.get(), PATIENCE)

    async def cancelled(self) -> None:
        """Wait until the engine was told to drop a request; one that ends by itself is never dropped."""
        await asyncio.wait_for(self._cancelled.get(), PATIENCE)

    async def drained(self) -> None:
        """Wait for one more request: commands are carried out in order, so by then all earlier ones are."""
        request = {"model": self._service.name, "prompt": [1], "max_tokens": 1}
        await self._service.complete(self._service.parse(request))
        await self.submitted()
        assert self._service.engine.n_requests == 0
