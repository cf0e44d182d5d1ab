"""What a server cannot do, told at every door: its own faults, a full queue, a service that ends."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from benchmarks.client import CallError
from engine.backend.base import BackendError
from tests.core.fake_backend import N_VOCAB
from tests.doors import DOORS, Door, HttpDoor
from tests.quick import AnyText, engine_of, service_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.doors import Answer

ASK: Answer = {"prompt": "ABC", "max_tokens": 6, "seed": 1}


class Backend(AnyText):
    """A fake without a chat template."""

    def apply_chat_template(self, *_args: object, **_options: object) -> None:
        return None


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture(params=DOORS, ids=lambda door: door.name)
async def quick(request: pytest.FixtureRequest, backend: Backend) -> AsyncIterator[Door]:
    """One door to a server of its own, which takes a single request at a time."""
    engine = engine_of(backend, max_requests=1)
    async with request.param(service_of(engine)) as door:
        yield door
        backend.open_gate()
        await asyncio.to_thread(engine.close)


def asking(door: Door) -> list[Callable[..., Awaitable[object]]]:
    return [door.complete, door.stream]


async def refused(asked: Awaitable[object]) -> CallError:
    with pytest.raises(CallError) as caught:
        await asked
    return caught.value


async def post(door: HttpDoor, **fields: object) -> tuple[int, dict[str, str], str]:
    body = {"model": "fake", **ASK, **fields}
    answer = await door.routes.post("/v1/completions", json=body)
    return answer.status_code, dict(answer.headers), answer.text


async def test_what_fails_before_the_first_token_is_a_plain_error(quick: Door, backend: Backend) -> None:
    for ask in asking(quick):
        backend.faults = {backend.n_decodes + 1: BackendError("out of order")}
        assert (await refused(ask(**ASK))).code == "internal_error"
    if isinstance(quick, HttpDoor):
        backend.faults = {backend.n_decodes + 1: BackendError("out of order")}
        status, headers, text = await post(quick, stream=True)
        assert (status, headers["content-type"]) == (500, "application/json")
        assert set(json.loads(text)["error"]) == {"message", "type", "param", "code"}
    assert (await quick.complete(**ASK))["choices"], "the next one is none the worse"


async def test_what_fails_after_it_is_told_at_the_end_of_the_stream(quick: Door, backend: Backend) -> None:
    backend.faults = {3: BackendError("out of order")}
    chunks = quick.chunks(**ASK)
    for _ in range(2):
        assert (await anext(chunks))["choices"][0]["finish_reason"] is None
    assert (await refused(anext(chunks))).code == "internal_error"
    if isinstance(quick, HttpDoor):
        backend.faults = {backend.n_decodes + 3: BackendError("out of order")}
        status, _, text = await post(quick, stream=True)
        *_, last, nothing = text.split("\n\n")
        assert (status, nothing) == (200, "")
        assert set(json.loads(last.removeprefix("data: "))["error"]) == {"message", "type", "param", "code"}


async def test_a_full_queue_refuses_and_tells_when_to_come_back(quick: Door, backend: Backend) -> None:
    async with running(quick, backend):
        for ask in asking(quick):
            error = await refused(ask(**ASK))
            assert (error.code, error.param) == ("queue_full", None)
            assert "1" in error.message, "the limit"
        if isinstance(quick, HttpDoor):
            status, headers, text = await post(quick)
            assert (status, json.loads(text)["error"]["code"]) == (429, "queue_full")
            assert int(headers["retry-after"]) > 0


@asynccontextmanager
async def running(door: Door, backend: Backend) -> AsyncIterator[None]:
    """Keep a request in the engine."""
    backend.hold()
    first = asyncio.create_task(door.complete(**ASK))
    await backend.next_decode()
    yield
    backend.open_gate()
    assert (await first)["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("is_closed", [True, False])
async def test_what_is_closed_or_about_to_be_is_unavailable(quick: Door, is_closed: bool) -> None:
    if is_closed:
        await asyncio.to_thread(quick.service.close)
    else:
        quick.service.drain()
    for ask in asking(quick):
        assert (await refused(ask(**ASK))).code == "unavailable"
    if isinstance(quick, HttpDoor):
        status, _, text = await post(quick)
        assert (status, json.loads(text)["error"]["code"]) == (503, "unavailable")


async def test_a_chat_needs_a_template(quick: Door) -> None:
    error = await refused(quick.complete(messages=[{"role": "user", "content": "A"}]))
    assert (error.code, error.param) == ("invalid_request_error", "messages")


@pytest.mark.parametrize("left", [[], [7]])
async def test_what_leaves_no_token_to_draw_is_the_callers_fault(quick: Door, left: list[int]) -> None:
    banned = {str(token): -100 for token in range(N_VOCAB) if token not in left}
    fields: Answer = {**ASK, "logit_bias": banned, "stop_token_ids": left}
    error = await refused(quick.complete(**fields, min_tokens=1))
    assert (error.code, error.param) == ("invalid_request_error", "logit_bias")
    if left:
        assert (await quick.complete(**fields))["choices"][0]["finish_reason"] == "stop"
