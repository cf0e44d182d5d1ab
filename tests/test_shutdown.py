"""What a signal does to those who are being answered over HTTP."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx2
import pytest
from sse_starlette.sse import AppStatus

from engine.serving.auth import ApiKeys
from engine.serving.http import create_app
from engine.serving.http_server import HttpServer
from tests.quick import AnyText, engine_of, service_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from engine.service.service import CompletionService

PATH = "/v1/completions"
ASK = {"model": "fake", "prompt": "ABC", "max_tokens": 6, "seed": 1}


@pytest.fixture
def backend() -> AnyText:
    return AnyText()


@pytest.fixture
async def quick(backend: AnyText) -> AsyncIterator[CompletionService]:
    service = service_of(engine_of(backend))
    yield service
    backend.open_gate()
    await asyncio.to_thread(service.close)


Answering = asyncio.Task[httpx2.Response]
Asked = tuple[httpx2.AsyncClient, Answering, Answering, HttpServer]


@asynccontextmanager
async def asked(service: CompletionService, backend: AnyText, *, grace: float) -> AsyncIterator[Asked]:
    """Ask for a stream and for a whole answer, and send the signal while both are in the engine."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(create_app(service, ApiKeys()), service, grace=grace)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    backend.hold()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    async with httpx2.AsyncClient(base_url=url, timeout=60) as client:
        stream = asyncio.create_task(client.post(PATH, json=ASK | {"stream": True}))
        await backend.next_decode()
        backend.let(1)
        await backend.next_decode()  # so the first token has been told
        whole = asyncio.create_task(client.post(PATH, json=ASK))
        while service.engine.n_requests < 2:  # noqa: ASYNC110 - a request that waits gives no sign but this one
            await asyncio.sleep(0)
        server.handle_exit(signal.SIGTERM, None)
        yield client, stream, whole, server
    await serving


def last_frame(answer: httpx2.Response) -> str:
    *_, last, nothing = answer.text.split("\n\n")
    assert nothing == ""
    return last.removeprefix("data: ")


async def test_what_runs_is_answered_and_what_is_new_is_refused(
    quick: CompletionService, backend: AnyText
) -> None:
    async with asked(quick, backend, grace=60) as (client, stream, whole, _):
        assert not AppStatus.should_exit, "or streams are cut within half a second"
        while quick.is_ready:  # noqa: ASYNC110 - draining gives no sign but this one
            await asyncio.sleep(0)
        for answer in (await client.post(PATH, json=ASK), await client.get("/ready")):
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
        assert (await client.get("/health")).status_code == 200
        backend.open_gate()
        assert last_frame(await stream) == "[DONE]"
        assert (await whole).json()["choices"][0]["finish_reason"] == "length"


async def test_what_runs_longer_than_its_grace_is_told(quick: CompletionService, backend: AnyText) -> None:
    async with asked(quick, backend, grace=0) as (_, stream, whole, _):
        while quick.is_alive:  # noqa: ASYNC110 - closing gives no sign but this one
            await asyncio.sleep(0)
        backend.open_gate()
        assert json.loads(last_frame(await stream))["error"]["code"] == "unavailable"
        answer = await whole
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")


async def test_a_second_signal_does_not_even_wait_for_the_step(
    quick: CompletionService, backend: AnyText
) -> None:
    async with asked(quick, backend, grace=60) as (_, stream, whole, server):
        server.handle_exit(signal.SIGTERM, None)
        answer = await whole
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
        with pytest.raises(httpx2.RemoteProtocolError):  # cut, as the step has not ended
            await stream
    assert server.is_stuck
