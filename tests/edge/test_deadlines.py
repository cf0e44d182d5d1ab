"""A request ends when its time is over, and so does the work for it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from engine.errors import DeadlineExceededError
from engine.service.deadline import Deadline
from tests.edge.servers import ASK, PATH, Served, served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def door() -> AsyncIterator[Served]:
    async with served() as door:
        yield door


async def at_rest(door: Served) -> None:
    while door.service.engine.n_requests:  # noqa: ASYNC110 - the engine gives no sign but this one
        await asyncio.sleep(0)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_deadline_before_the_first_token_is_a_504(door: Served, stream: bool) -> None:
    door.backend.hold()
    answer = await door.client.post(
        PATH, json=ASK | {"stream": stream}, headers={"X-Request-Timeout": "0.05"}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert "0.05 s" in answer.json()["error"]["message"]
    door.backend.open_gate()
    await at_rest(door)
    assert (await door.client.post(PATH, json=ASK)).status_code == 200


async def test_a_deadline_within_a_stream_is_its_last_event(door: Served) -> None:
    door.backend.hold()
    headers = {"X-Request-Timeout": "0.5"}
    asked = asyncio.create_task(door.client.post(PATH, json=ASK | {"stream": True}, headers=headers))
    await door.backend.next_decode()
    door.backend.let(1)
    *_, last, nothing = (await asked).text.split("\n\n")
    assert (json.loads(last.removeprefix("data: "))["error"]["code"], nothing) == ("deadline_exceeded", "")
    door.backend.open_gate()
    await at_rest(door)


async def test_a_deadline_in_the_queue_is_a_504(door: Served) -> None:
    door.backend.hold()
    first = asyncio.create_task(door.client.post(PATH, json=ASK | {"n": 8}))
    await door.backend.next_decode()
    answer = await door.client.post(PATH, json=ASK, headers={"X-Request-Timeout": "0.05"})
    assert answer.status_code == 504
    door.backend.open_gate()
    assert (await first).status_code == 200
    await at_rest(door)


async def test_the_server_may_allow_less_than_the_client() -> None:
    async with served(max_seconds=0.05) as strict:
        strict.backend.hold()
        for headers in ({}, {"X-Request-Timeout": "3600"}):
            answer = await strict.client.post(PATH, json=ASK, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "1e999", "soon", "", "1s"])
async def test_a_deadline_that_is_none_is_refused(door: Served, value: str) -> None:
    answer = await door.client.post(PATH, json=ASK, headers={"X-Request-Timeout": value})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request_error")
    assert "X-Request-Timeout" in answer.json()["error"]["message"]


async def test_a_deadline_is_one_for_all_the_times_that_it_is_entered() -> None:
    deadline = Deadline(0.05)
    async with deadline:
        pass
    for _ in range(2):
        with pytest.raises(DeadlineExceededError):
            async with deadline:
                await asyncio.Event().wait()


async def test_what_fails_by_itself_fails_as_it_did() -> None:
    for deadline in (Deadline(60), Deadline(None)):
        with pytest.raises(TimeoutError, match="own"):
            async with deadline:
                raise TimeoutError("own")
