"""Many requests at one door at once, each as a whole and as a stream."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.doors import Answer, Door

Name = TypeVar("Name")
AT_ONCE = 8
"""Requests that are under way at one time, each of them twice: so none waits long, and the model never."""


class Told(NamedTuple):
    """What a door has told of a request."""

    whole: Answer
    chunks: list[Answer]


@asynccontextmanager
async def asked_together(
    door: Door, requests: Mapping[Name, Answer]
) -> AsyncIterator[dict[Name, asyncio.Task[Told]]]:
    """Ask for everything that a test file wants of a door; a test awaits its own part, and fails alone.

    Sequences that run together take half the time, and a seed gives the same in any company.
    """
    turns = asyncio.Semaphore(AT_ONCE)

    async def ask(fields: Answer) -> Told:
        async with turns:
            streaming = door.stream(**fields, stream_options={"include_usage": True})
            return Told(*await asyncio.gather(door.complete(**fields), streaming))

    asked = {name: asyncio.create_task(ask(fields)) for name, fields in requests.items()}
    try:
        yield asked
    finally:
        for task in asked.values():
            task.cancel()
        await asyncio.gather(*asked.values(), return_exceptions=True)
