"""A client that leaves: nobody works for it after the step in which it left, and nobody else notices."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from engine.backend.llama import LlamaBackend
from tests.doors import PythonDoor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from engine.service.service import CompletionService
    from tests.doors import Answer, Door
    from tests.trace import Trace


def endless(service: CompletionService, **fields: Any) -> Answer:
    """A request that runs to its last token: whatever ends a text is banned."""
    bans = {str(token): -100 for token in service.engine.backend.info.eog_tokens}
    return {"prompt": "Once upon a time", "seed": 1, "logit_bias": bans, **fields}


async def leave_after(chunks: AsyncGenerator[Answer, None], count: int) -> None:
    async with aclosing(chunks):
        for _ in range(count):
            await anext(chunks)


async def test_leaving_in_mid_stream_frees_the_slot_within_a_step(
    door: Door, service: CompletionService, trace: Trace
) -> None:
    stays = asyncio.create_task(PythonDoor(service).complete(**endless(service, max_tokens=40)))
    await trace.until("submit")
    await leave_after(door.chunks(**endless(service, max_tokens=2000)), 3)
    await trace.until("cancel")
    answer = await stays
    assert answer["usage"]["completion_tokens"] == 40
    assert any(len(slots) == 2 for slots in trace.events if isinstance(slots, frozenset))
    assert {len(slots) for slots in trace.decodes_after("cancel")} == {1}


async def test_leaving_the_queue_leaves_no_trace(
    door: Door, service: CompletionService, trace: Trace
) -> None:
    stays = asyncio.create_task(PythonDoor(service).complete(**endless(service, max_tokens=16, n=4)))
    await trace.until("submit")
    leaves = asyncio.create_task(door.complete(**endless(service, max_tokens=2000, prompt="Never read")))
    await trace.until("submit", 2)
    leaves.cancel()
    await trace.until("cancel")
    assert service.engine.n_requests == 1
    answer = await stays
    assert answer["usage"]["completion_tokens"] == 4 * 16
    assert all(len(slots) <= 4 for slots in trace.decodes_after("cancel"))
    with pytest.raises(asyncio.CancelledError):
        await leaves


async def test_leaving_in_prefill_stops_it(door: Door, service: CompletionService, trace: Trace) -> None:
    prompt = [504] * 6000  # a dozen steps of prefill
    leaves = asyncio.create_task(door.stream(**endless(service, prompt=prompt, max_tokens=2000)))
    await trace.until("submit")
    leaves.cancel()
    await trace.until("cancel")
    await PythonDoor(service).complete(prompt="The next one", max_tokens=1)
    n_chunks = sum(isinstance(event, frozenset) for event in trace.events)
    assert n_chunks < 6000 // service.engine.backend.n_batch
    with pytest.raises(asyncio.CancelledError):
        await leaves


async def test_the_cache_is_empty_when_all_have_gone(service: CompletionService, trace: Trace) -> None:
    python = PythonDoor(service)
    await leave_after(python.chunks(**endless(service, max_tokens=500, n=6)), 5)
    await trace.until("cancel")
    await python.complete(prompt="a", max_tokens=1)  # its step comes after the clean-up of the one before
    backend, scheduler = service.engine.backend, trace.scheduler
    assert isinstance(backend, LlamaBackend)
    held = [backend.used_cells(slot) for slot in range(backend.n_slots)]
    assert sum(held) <= 1, "the last one's token, until the next step has cut it"
    assert (scheduler.n_running, scheduler.free_cells) == (0, backend.n_cells)
