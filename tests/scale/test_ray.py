"""Engines behind a real Ray Serve: the same answers, and what happens when a client leaves or a replica dies.

What takes longer, updates and a thousand requests while replicas are killed, is in ``ray_faults.py``.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from benchmarks.client import CallError, GrpcClient, HttpClient
from benchmarks.ray_cluster import PYTHON, RayCluster, ray_cluster
from benchmarks.servers import HOST
from tests.answers import AS_A_HARNESS_ASKS, comparable, joined
from tests.doors import PythonDoor
from tests.embedding.tiny import write
from tests.process import MODEL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from benchmarks.client import Client
    from engine.service.service import CompletionService
    from tests.doors import Answer

pytestmark = [
    pytest.mark.skipif(
        not PYTHON.exists(), reason="Ray is not installed; make test installs it into build/clients/ray"
    ),
    pytest.mark.timeout(300),  # a cluster starts in seconds, unless others compute
]

SMALL = {"cores": 0.5, "parallel": 4, "prefix_cache": False}
FRANCE: Answer = {"prompt": "The capital of France is", "max_tokens": 8, "seed": 7}
LONG: Answer = {"model": "tiny", "prompt": "abc", "max_tokens": 1500, "seed": 7, "ignore_eos": True}
CASES: dict[str, Answer] = {
    "sampled": {"n": 2, "logprobs": 2},
    "a stop string": {"temperature": 0, "max_tokens": 16, "stop": [" has"]},
    "token ids": {"prompt": [504, 3575, 282, 4649, 314], "echo": True},
    "a harness's scores": AS_A_HARNESS_ASKS | {"prompt": ["The capital of France is Paris.", "2 + 2 = 4"]},
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    """The real model, and two replicas of a tiny one, behind a router."""
    tiny = str(write(tmp_path_factory.mktemp("ray") / "tiny.gguf"))
    with ray_cluster() as started:
        started.deploy(
            models=[SMALL | {"model": MODEL, "ctx_size": 2048}, SMALL | {"model": tiny, "replicas": 2}]
        )
        yield started


@pytest.fixture(params=[HttpClient, GrpcClient], ids=["http", "grpc"])
async def client(request: pytest.FixtureRequest, cluster: RayCluster) -> AsyncIterator[Client]:
    opened: Client = request.param(HOST, cluster.http if request.param is HttpClient else cluster.grpc)
    yield opened
    await opened.close()


async def complete(client: Client, **fields: Any) -> Answer:
    (answer,) = [client.read(event) async for event in client.events({"model": MODEL} | FRANCE | fields)]
    return answer


async def stream(client: Client, **fields: Any) -> list[Answer]:
    asked = {"model": MODEL, "stream": True} | FRANCE | fields
    return [client.read(event) async for event in client.events(asked)]


@pytest.mark.parametrize("case", CASES)
async def test_an_answer_is_that_of_the_python_door(
    client: Client, service: CompletionService, case: str
) -> None:
    async with PythonDoor(service) as door:
        known = await door.complete(**FRANCE | CASES[case])
    assert comparable(await complete(client, **CASES[case])) == comparable(known)
    assert joined(await stream(client, **CASES[case])) == known["choices"]


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"temperature": 3}, "invalid_request_error", "temperature"),
        ({"model": "gpt"}, "model_not_found", "model"),
        ({"max_tokens": 5000}, "context_length_exceeded", "max_tokens"),
    ],
)
async def test_a_refusal_has_its_code(client: Client, fields: Answer, code: str, param: str) -> None:
    with pytest.raises(CallError) as refused:
        await complete(client, **fields)
    assert (refused.value.code, refused.value.param) == (code, param)


async def test_both_models_are_listed(cluster: RayCluster) -> None:
    async with httpx2.AsyncClient(base_url=f"http://{HOST}:{cluster.http}", timeout=60) as http:
        answer = await http.get("/v1/models", headers={"X-Request-Id": "mine"})
    assert [card["id"] for card in answer.json()["data"]] == [MODEL, "tiny"]
    assert answer.headers["X-Request-Id"] == "mine"


@pytest.mark.parametrize(
    ("client", "streams"),
    [(HttpClient, True), (HttpClient, False), (GrpcClient, False)],
    ids=["http-stream", "http-whole", "grpc-whole"],
    indirect=["client"],
)
async def test_a_client_that_leaves_frees_its_slot(
    client: Client, cluster: RayCluster, *, streams: bool
) -> None:
    """Long before the answer's end, by the state of the one replica of the first model.

    Not a stream over gRPC: Serve's proxy does not notice if its client leaves while a message is written.
    """
    endless = {"model": MODEL, "stream": streams, "max_tokens": 1900, "ignore_eos": True}
    async with httpx2.AsyncClient(base_url=f"http://{HOST}:{cluster.http}", timeout=60) as http:
        before = (await http.get("/state")).json()["totals"]["completion_tokens"]
        asking = asyncio.create_task(_rest(client, client.events(FRANCE | endless)))
        while not (await http.get("/state")).json()["slots"]:
            assert not asking.done()
        asking.cancel()
        while (state := (await http.get("/state")).json())["slots"]:
            pass
    assert state["totals"]["completion_tokens"] - before < 1900


async def test_a_replica_that_dies_breaks_what_it_had_begun_and_nothing_else(cluster: RayCluster) -> None:
    """Others go on to their end, new ones are answered, and Serve starts another replica."""
    client, asked = HttpClient(HOST, cluster.http), LONG | {"stream": True}
    before = await asyncio.to_thread(cluster.pids, "model-tiny")
    streams = [client.events(asked) for _ in range(4)]
    firsts = [client.read(await anext(events)) for events in streams]
    os.kill(min(before), signal.SIGKILL)
    ends = await asyncio.gather(*(_rest(client, events) for events in streams))
    broken = [end for end in ends if isinstance(end, CallError)]
    assert 0 < len(broken) < len(streams)
    assert {error.code for error in broken} == {"unavailable"}
    for first, end in zip(firsts, ends, strict=True):
        assert isinstance(end, CallError) or is_whole([first, *end])
    assert is_whole([client.read(event) async for event in client.events(asked)])
    await asyncio.to_thread(cluster.wait_for, "model-tiny", 2, but={min(before)})


def is_whole(chunks: list[Answer]) -> bool:
    """Not which tokens: with its weights in float32, a seed repeats only where nothing runs beside it."""
    (choice,) = joined(chunks)
    return bool(choice["finish_reason"] == "length")


async def _rest(client: Client, events: AsyncIterator[Any]) -> list[Answer] | CallError:
    try:
        return [client.read(event) async for event in events]
    except CallError as error:
        return error
