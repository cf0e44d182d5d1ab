"""A server that stops, and clients that leave."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest

from engine.contract.responses import Completion, Usage
from engine.pb.nucleus.v1 import completions_pb2 as pb
from engine.pb.nucleus.v1 import completions_pb2_grpc as pb_grpc
from engine.serving.auth import ApiKeys
from engine.serving.grpc import start_grpc
from engine.serving.listen import Endpoint
from tests.grpc.calls import (
    CODE,
    FRANCE,
    HOST,
    METHODS,
    PATIENCE,
    create,
    error_of,
    request_of,
    serving,
    stub_of,
)

if TYPE_CHECKING:
    from engine.service.service import CompletionService
    from tests.grpc.watched import Watched

    Stub = pb_grpc.CompletionServiceAsyncStub


class Slow:
    """A service whose answer comes when it is let, and that knows how its call ended."""

    def __init__(self) -> None:
        self.began, self.may_answer, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.parse, self.token_texts = dict, dict[int, str]()

    async def complete(self, *_args: object) -> Completion:
        self.began.set()
        try:
            await self.may_answer.wait()
        finally:
            self.ended.set()
        usage = Usage(prompt_tokens=0, completion_tokens=0, total_tokens=0)
        return Completion(id="cmpl-1", created=0, model="slow", choices=[], usage=usage)


@pytest.mark.parametrize("patient", [True, False])
async def test_the_stop_waits_for_running_calls_as_long_as_it_is_told(patient: bool) -> None:
    slow = Slow()
    server = await start_grpc(cast("Any", slow), ApiKeys(), Endpoint(HOST))
    async with grpc.aio.insecure_channel(f"{HOST}:{server.port}") as channel:
        call = asyncio.ensure_future(create(stub_of(channel), pb.CompletionRequest()))
        await asyncio.wait_for(slow.began.wait(), PATIENCE)
        stopping = asyncio.create_task(server.stop(PATIENCE if patient else 0))
        if patient:
            slow.may_answer.set()
            assert (await call).id == "cmpl-1"
        else:
            error = await error_of(call)
            assert error.code() in (CODE.UNAVAILABLE, CODE.CANCELLED)
        await stopping
        await asyncio.wait_for(slow.ended.wait(), PATIENCE)


# --- clients that leave ------------------------------------------------------------------------------------


@pytest.fixture
def endless(service: CompletionService, model: str) -> pb.CompletionRequest:
    """A request for every slot that cannot end before its many tokens."""
    backend = service.engine.backend
    return pb.CompletionRequest(
        model=model,
        prompt=FRANCE,
        n=backend.n_slots,
        max_tokens=backend.n_cells // backend.n_slots - 32,
        logit_bias=dict.fromkeys(backend.info.eog_tokens, -100.0),
    )


@pytest.mark.parametrize("leave", ["cancel", "disconnect"])
async def test_leaving_in_mid_stream_frees_the_slots(
    service: CompletionService, watched: Watched, endless: pb.CompletionRequest, leave: str
) -> None:
    async with serving(service, ApiKeys()) as channel:
        call: Any = stub_of(channel).StreamCompletion(pb.StreamCompletionRequest(request=endless))
        assert (await call.read()).chunk.choices
        if leave == "cancel":
            call.cancel()
        else:
            await channel.close()
        await watched.cancelled()
        await watched.submitted()
        await watched.drained()


@pytest.mark.parametrize("method", METHODS)
async def test_leaving_before_the_first_token_frees_the_slots(
    stub: Stub, watched: Watched, endless: pb.CompletionRequest, method: str
) -> None:
    watched.hold()
    call = getattr(stub, method)(request_of(method, endless))
    waiting = asyncio.create_task(call.code())
    await watched.submitted()
    call.cancel()
    assert await waiting is CODE.CANCELLED
    await watched.cancelled()
    watched.go()
    await watched.drained()


async def test_leaving_the_queue(
    stub: Stub, service: CompletionService, watched: Watched, endless: pb.CompletionRequest
) -> None:
    first: Any = stub.StreamCompletion(pb.StreamCompletionRequest(request=endless))
    assert (await first.read()).chunk.choices  # it holds every slot
    await watched.submitted()
    second = stub.CreateCompletion(pb.CreateCompletionRequest(request=endless))
    waiting = asyncio.create_task(second.code())
    await watched.submitted()
    assert service.engine.n_requests == 2
    second.cancel()
    assert await waiting is CODE.CANCELLED
    await watched.cancelled()
    assert (await first.read()).chunk.choices  # the neighbour goes on
    first.cancel()
    await watched.cancelled()
    await watched.drained()


@pytest.mark.parametrize("method", METHODS)
async def test_a_deadline_frees_the_slots(
    stub: Stub, watched: Watched, endless: pb.CompletionRequest, method: str
) -> None:
    watched.hold()  # so that the deadline passes on a machine of any speed
    error = await error_of(getattr(stub, method)(request_of(method, endless), timeout=2.0))
    assert error.code() is CODE.DEADLINE_EXCEEDED
    await watched.submitted()
    await watched.cancelled()
    watched.go()
    await watched.drained()
