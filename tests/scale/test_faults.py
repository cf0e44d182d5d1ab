"""SMG in front of two servers of which one dies, hangs or is replaced: nothing is lost, and nobody waits."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING

import pytest

from benchmarks.client import CallError, HttpClient
from benchmarks.prompts import PASSAGES
from benchmarks.servers import HOST
from engine.client.http import HttpClient as ResumingClient
from tests.answers import joined
from tests.process import MODEL, PATIENCE
from tests.scale.workers import IS_MISSING, REASON, Worker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from benchmarks.client import Fields
    from benchmarks.gateways import Gateway
    from tests.scale.conftest import Opening

pytestmark = [pytest.mark.skipif(IS_MISSING, reason=REASON), pytest.mark.timeout(300)]

ASK: Fields = {"model": MODEL, "prompt": "Once upon a time", "temperature": 1.0, "ignore_eos": True}
WHOLE = [{**ASK, "seed": seed, "max_tokens": 8} for seed in range(2)]
STREAMED: Fields = {**ASK, "seed": 9, "max_tokens": 32, "stream": True}
QUICK: Fields = {**ASK, "seed": 5, "max_tokens": 2}
IN_TURNS = ("--policy", "round_robin")


async def whole(port: int, fields: Fields) -> list[Fields]:
    """Return the choices of an answer."""
    client = HttpClient(HOST, port)
    async with asyncio.timeout(PATIENCE):
        (answer,) = [client.read(event) async for event in client.events(fields)]
    return joined([answer])


async def begun(port: int) -> tuple[list[Fields], AsyncGenerator[bytes, None]]:
    """Return a stream of which the first event has come, and that event."""
    client = HttpClient(HOST, port)
    events = client.events(STREAMED)
    return [client.read(await anext(events))], events


async def rest(came: list[Fields], events: AsyncGenerator[bytes, None]) -> bool:
    """Read a stream to its end; return True if it was broken off, as its client was told."""
    async with asyncio.timeout(PATIENCE), aclosing(events):
        try:
            async for event in events:
                came.append(HttpClient(HOST, 0).read(event))  # noqa: PERF401 - what came counts, too
        except CallError:
            return True
    return False


def under_way(gateway: Gateway, counts: list[int]) -> Callable[[], bool]:
    """Return a function that tells if the workers have so many requests each."""
    return lambda: [worker["load"] for worker in gateway.workers()] == counts


async def test_what_has_no_token_is_answered_elsewhere_and_what_has_is_told(
    pair: list[Worker], open_gateway: Opening
) -> None:
    """Or resumed, by a client that knows how."""
    right = [await whole(pair[0].port, fields) for fields in WHOLE]
    (right_stream,) = await whole(pair[0].port, {**STREAMED, "stream": False})
    right_resumed = await whole(pair[0].port, {**STREAMED, "stream": False, "return_token_ids": True})
    async with AsyncExitStack() as stack:
        gateway = stack.enter_context(open_gateway(pair, *IN_TURNS))
        cached = stack.enter_context(open_gateway(pair, "--policy", "cache_aware"))
        client = await stack.enter_async_context(ResumingClient(f"http://{HOST}:{gateway.port}"))
        talk = await conversation_at(pair[1], cached.port)
        streams = [await begun(gateway.port) for _ in pair]
        resuming = [client.stream(**STREAMED) for _ in pair]
        resumed = [[await anext(chunks)] for chunks in resuming]
        pending = [asyncio.create_task(whole(gateway.port, fields)) for fields in WHOLE]
        await asyncio.to_thread(gateway.wait_until, under_way(gateway, [3, 3]))
        await asyncio.to_thread(pair[1].kill)
        assert await whole(cached.port, talk), "although its turns before are in the cache of the dead"
        assert await asyncio.gather(*pending) == right
        broken = [await rest(*stream) for stream in streams]
        for came, chunks in zip(resumed, resuming, strict=True):
            came.extend([chunk async for chunk in chunks])
    assert [joined(came) for came in resumed] == [right_resumed] * 2, "one of them was resumed elsewhere"
    assert sorted(broken) == [False, True]
    for (came, _), is_broken in zip(streams, broken, strict=True):
        (told,) = joined(came)
        if is_broken:
            assert told["finish_reason"] is None
            assert right_stream["text"].startswith(told["text"])
        else:
            assert told == right_stream


async def conversation_at(worker: Worker, port: int) -> Fields:
    """Begin conversations until one has come to a worker, and return the request for its next turn."""
    for passage in PASSAGES:
        before = worker.metric("prompt_tokens_total")
        talk = {**QUICK, "prompt": passage[:200]}
        (choice,) = await whole(port, talk)
        if worker.metric("prompt_tokens_total") > before:
            return {**talk, "prompt": f"{talk['prompt']}{choice['text']} And then?"}
    raise AssertionError("no conversation came to it")


async def test_a_worker_that_hangs_gets_no_more_and_loses_nothing(
    pair: list[Worker], open_gateway: Opening
) -> None:
    """It comes back with what it had."""
    right = [await whole(pair[0].port, fields) for fields in WHOLE]
    with open_gateway(pair, *IN_TURNS) as gateway:
        pair[1].stop()
        try:
            pending = [asyncio.create_task(whole(gateway.port, fields)) for fields in WHOLE]
            await asyncio.to_thread(gateway.wait_until_ready, [pair[0].url])
            for _ in pair:
                await whole(gateway.port, QUICK)
            await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            assert sorted(task.done() for task in pending) == [False, True], "one hangs with its worker"
        finally:
            pair[1].go_on()
        assert await asyncio.gather(*pending) == right
        await asyncio.to_thread(gateway.wait_until_ready, [worker.url for worker in pair])


class Flow:
    """A client that asks one thing after the other, and takes no refusal."""

    def __init__(self, port: int, right: list[Fields]) -> None:
        self._port, self._right = port, right
        self._answered = 0
        self._changed = asyncio.Condition()

    async def run(self) -> None:
        while True:
            assert await whole(self._port, QUICK) == self._right
            async with self._changed:
                self._answered += 1
                self._changed.notify_all()

    async def lap(self) -> None:
        """Wait until each worker could have answered what was asked after this moment."""
        goal = self._answered + 4
        async with self._changed:
            await self._changed.wait_for(lambda: self._answered >= goal)


async def test_a_worker_is_replaced_under_load_and_nobody_notices(
    two: list[Worker], pair: list[Worker], open_gateway: Opening
) -> None:
    """The old one is asked to end while it still gets requests; then it is taken off the list."""
    old, two[1] = two[1], Worker(log=two[1].log)
    kept, new = two
    with open_gateway([kept, old], *IN_TURNS) as gateway:
        flow = Flow(gateway.port, await whole(kept.port, QUICK))
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(flow.run())
            await asyncio.to_thread(new.start)
            gateway.add(new.url)
            await asyncio.to_thread(gateway.wait_until_ready, [kept.url, old.url, new.url])
            await flow.lap()
            streams = [await begun(gateway.port) for _ in range(3)]
            old.terminate()
            await asyncio.to_thread(old.end)
            assert [await rest(*stream) for stream in streams] == [False] * 3
            await flow.lap()
            gateway.remove(old.url)
            await asyncio.to_thread(gateway.wait_until, lambda: len(gateway.workers()) == 2)
            await flow.lap()
            asking.cancel()
        assert new.metric("completion_tokens_total") > 0
