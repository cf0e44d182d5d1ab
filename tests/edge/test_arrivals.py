"""A crowd of requests is begun one by one, refused at once beyond the limit, and holds up nothing else."""

from __future__ import annotations

import asyncio
import json

import pytest

from engine.serving.arrivals import Arrivals
from engine.serving.auth import ApiKeys
from tests.edge.servers import ASK, PATH, error_of, post, served, status_of

JSON = "Content-Type: application/json"


async def turns_until(done: asyncio.Event) -> int:
    turns = 0
    while not done.is_set():
        await asyncio.sleep(0)
        turns += 1
    return turns


async def test_one_is_begun_in_a_turn_and_another_callback_waits_for_no_more() -> None:
    begun: list[int] = []
    all_begun, other = asyncio.Event(), asyncio.Event()

    def begin(number: int) -> None:
        begun.append(number)
        if len(begun) == 100:
            all_begun.set()

    arrivals = Arrivals(lambda _waiting: True)
    for number in range(100):
        arrivals.add(lambda number=number: begin(number), pytest.fail)  # type: ignore[misc]
    asyncio.get_running_loop().call_soon(other.set)
    assert await turns_until(other) == 1
    assert len(begun) <= 2
    assert await turns_until(all_begun) >= 90
    assert begun == sorted(begun)


async def test_what_there_is_no_room_for_does_not_wait_for_what_there_is() -> None:
    begun, refused = [], asyncio.Event()
    arrivals = Arrivals(lambda waiting: waiting < 50)
    for number in range(51):
        arrivals.add(lambda number=number: begun.append(number), refused.set)  # type: ignore[misc]
    await turns_until(refused)
    assert len(begun) <= 2


async def test_beyond_the_limit_a_request_is_refused_before_it_is_read() -> None:
    async with served(keys=ApiKeys(["sk-1"]), max_requests=2) as full:
        key = "Authorization: Bearer sk-1"
        full.backend.hold()
        running = [asyncio.create_task(full.raw(post(ASK, JSON, key))) for _ in range(2)]
        while full.service.engine.n_requests < 2:  # noqa: ASYNC110 - the engine gives no sign but this one
            await asyncio.sleep(0)
        answer = await full.raw(post(b"nonsense", JSON, key))
        assert (status_of(answer), error_of(answer)["code"]) == (429, "queue_full")
        assert b"retry-after: 1\r\n" in answer
        assert status_of(await full.raw(post(ASK, JSON))) == 401, (
            "who has no key does not learn how full it is"
        )
        assert (await full.client.get("/health")).status_code == 200
        full.backend.open_gate()
        assert [status_of(answer) for answer in await asyncio.gather(*running)] == [200, 200]
        assert status_of(await full.raw(post(ASK, JSON, key))) == 200


async def test_of_a_crowd_each_is_answered_or_refused() -> None:
    async with served(max_requests=20) as door:
        answers = await asyncio.gather(*(door.client.post(PATH, json=ASK) for _ in range(100)))
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) <= {200, 429}
        assert statuses.count(200) >= 20
        (text,) = {json.dumps(answer.json()["choices"]) for answer in answers if answer.status_code == 200}
        assert text
