"""SMG in front of workers over gRPC: it tokenizes, and what it gives is what a worker gives alone."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from benchmarks.client import CallError, HttpClient
from benchmarks.gateways import smg, smg_command
from benchmarks.servers import HOST, free_port
from engine.serving.auth import ApiKeys
from engine.serving.grpc import start_grpc
from engine.serving.listen import Endpoint
from tests.grpc.watched import Watched
from tests.models.test_tokenizer_json import CUT, PIECES
from tests.process import MODEL, PATIENCE, nucleus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from benchmarks.client import Fields
    from benchmarks.gateways import Gateway
    from engine.service.service import CompletionService

pytestmark = pytest.mark.skipif(smg_command() is None, reason="SMG is not installed; make test installs it")

FRANCE = "The capital of France is"
CHAT = [
    {"role": "system", "content": "Answer."},
    {"role": "user", "content": "What is the capital of France?"},
]


@asynccontextmanager
async def gateway_before(urls: Sequence[str], log: Path, *options: object) -> AsyncIterator[Gateway]:
    """Start SMG beside the event loop, on which a worker may run."""
    opening = smg(urls, log, *options)
    gateway = await asyncio.to_thread(opening.__enter__)
    try:
        yield gateway
    finally:
        await asyncio.to_thread(opening.__exit__, None, None, None)


@pytest.fixture(scope="module")
async def gateway(
    service: CompletionService, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    """SMG, with no tokenizer but the one that the worker sends, before the service of all tests."""
    async with AsyncExitStack() as opened:
        server = await start_grpc(service, ApiKeys(), Endpoint(HOST))
        opened.push_async_callback(server.stop, 0)
        log = tmp_path_factory.mktemp("smg") / "smg.log"
        url = f"grpc://{HOST}:{server.port}"
        yield await opened.enter_async_context(gateway_before([url], log))


async def answer_of(gateway: Gateway, fields: Fields, path: str = "/v1/completions") -> Any:
    client = HttpClient(HOST, gateway.port, path)
    (answer,) = [client.read(event) async for event in client.events({"model": MODEL, **fields})]
    return answer


async def texts_of_stream(gateway: Gateway, fields: Fields) -> dict[int, str]:
    client, texts = HttpClient(HOST, gateway.port), dict[int, str]()
    async for event in client.events({"model": MODEL, "stream": True, **fields}):
        for choice in client.read(event)["choices"]:
            texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
    return texts


CASES: dict[str, Fields] = {
    "greedy": {"temperature": 0},
    "drawn": {"temperature": 0.7, "top_p": 0.9, "seed": 3},
    "many": {"n": 3, "seed": 5, "presence_penalty": 0.5},
    "filtered": {"seed": 7, "top_k": 20, "min_p": 0.05, "repetition_penalty": 1.1},
    "stopped": {"temperature": 0, "stop": ["aris"]},
    "of a form": {"seed": 1, "regex": "[0-9]{3}"},
}


@pytest.mark.parametrize("case", CASES)
async def test_whole_and_stream_are_the_workers_own_answer(
    gateway: Gateway, service: CompletionService, case: str
) -> None:
    fields = {"prompt": FRANCE, "max_tokens": 12, **CASES[case]}
    own = {"guided_regex" if name == "regex" else name: value for name, value in fields.items()}
    expected = await service.complete(service.parse({"model": MODEL, **own}))
    answer, texts = await asyncio.gather(answer_of(gateway, fields), texts_of_stream(gateway, fields))
    wanted = {choice.index: choice.text for choice in expected.choices}
    assert {choice["index"]: choice["text"] for choice in answer["choices"]} == wanted == texts
    reasons = [choice["finish_reason"] for choice in answer["choices"]]
    assert reasons == [choice.finish_reason for choice in expected.choices]
    assert answer["usage"]["completion_tokens"] == expected.usage.completion_tokens


async def test_a_chat_has_the_workers_template_and_logprobs(
    gateway: Gateway, service: CompletionService
) -> None:
    common = {"messages": CHAT, "max_completion_tokens": 8, "seed": 3, "logprobs": True, "top_logprobs": 2}
    expected = await service.complete(service.parse_chat({"model": MODEL, **common}))
    answer = await answer_of(gateway, common, "/v1/chat/completions")
    (choice,), (own,) = answer["choices"], expected.choices
    assert choice["message"]["content"] == own.message.content
    assert own.logprobs is not None
    told = [np.float32(token["logprob"]) for token in choice["logprobs"]["content"]]
    assert told == [np.float32(token.logprob) for token in own.logprobs.content]
    assert answer["usage"]["prompt_tokens"] == expected.usage.prompt_tokens


async def test_generate_gives_the_tokens(gateway: Gateway, service: CompletionService) -> None:
    fields = {"model": MODEL, "prompt": FRANCE, "max_tokens": 6, "temperature": 0, "return_token_ids": True}
    expected = await service.complete(service.parse(fields))
    params = {"max_new_tokens": 6, "temperature": 0}
    (answer,) = await answer_of(gateway, {"text": FRANCE, "sampling_params": params}, "/generate")
    assert answer["output_ids"] == expected.choices[0].token_ids


async def test_it_makes_the_workers_tokens(gateway: Gateway, service: CompletionService) -> None:
    for text in ("".join(PIECES), "".join(CUT), " ".join(PIECES), *PIECES[:4]):
        answer = await answer_of(gateway, {"prompt": text}, "/v1/tokenize")
        own = await service.tokenize({"prompt": text, "add_special_tokens": False})
        assert answer["tokens"] == own.tokens


async def test_it_knows_model_context_and_capacity(gateway: Gateway, service: CompletionService) -> None:
    await asyncio.to_thread(gateway.wait_until, lambda: bool(gateway.loads()))
    (worker,) = await asyncio.to_thread(gateway.workers)
    (load,) = (await asyncio.to_thread(gateway.loads)).values()
    backend = service.engine.backend
    assert (worker["connection_mode"], worker["runtime_type"]) == ("grpc", "vllm")
    assert (worker["model_id"], worker["models"][0]["context_length"]) == (MODEL, service.max_model_len)
    assert worker["labels"]["max_num_seqs"] == str(backend.n_slots)
    assert (load["max_total_num_tokens"], load["max_running_requests"]) == (backend.n_cells, backend.n_slots)


async def test_a_refusal_reaches_the_client(gateway: Gateway) -> None:
    with pytest.raises(CallError, match="prompt and answer should be at most") as refused:
        await answer_of(gateway, {"prompt": FRANCE, "max_tokens": 10**6})
    assert "'max_tokens'" in refused.value.message


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_frees_the_slot(
    gateway: Gateway, service: CompletionService, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    watched = Watched(service, monkeypatch)
    await watched.drained()
    fields = {"prompt": FRANCE, "max_tokens": 4096, "ignore_eos": True, "stream": stream}
    leaving = asyncio.ensure_future(answer_of(gateway, fields))
    await watched.submitted()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await watched.cancelled()
    await watched.drained()


async def test_one_of_two_workers_is_killed(tmp_path: Path) -> None:
    """A stream that has begun ends with an error at once; all else is answered by the other worker."""
    ports = [free_port(), free_port()]
    urls = [f"grpc://{HOST}:{port}" for port in ports]
    async with AsyncExitStack() as opened:
        workers = [nucleus("--threads", 1, "--grpc-port", port) for port in ports]
        servers = await asyncio.gather(*(asyncio.to_thread(worker.__enter__) for worker in workers))
        for worker in workers:
            opened.push_async_callback(asyncio.to_thread, worker.__exit__, None, None, None)
        gateway = await opened.enter_async_context(
            gateway_before(urls, tmp_path / "smg.log", "--policy", "round_robin")
        )
        fields = {"model": MODEL, "prompt": FRANCE, "max_tokens": 1500, "ignore_eos": True, "stream": True}
        client = HttpClient(HOST, gateway.port)
        async with aclosing(client.events(fields)) as first, aclosing(client.events(fields)) as second:
            await asyncio.gather(anext(first), anext(second))  # each worker has one
            seeded = {"prompt": FRANCE, "max_tokens": 24, "seed": 1}
            wholes = [asyncio.ensure_future(answer_of(gateway, seeded)) for _ in range(2)]
            await asyncio.to_thread(gateway.wait_until, lambda: in_flight(gateway) == 4)
            servers[0].process.kill()
            ends = await asyncio.gather(*(to_the_end(client, events) for events in (first, second)))
            assert sorted(ends) == ["broken", "going"]
            texts = [(await whole)["choices"][0]["text"] for whole in wholes]
        assert texts[0] == texts[1]
        short = {"prompt": FRANCE, "max_tokens": 2, "temperature": 0}
        answers = await asyncio.gather(*(answer_of(gateway, short) for _ in range(4)))
        assert {answer["choices"][0]["text"] for answer in answers} == {" Paris."}


def in_flight(gateway: Gateway) -> int:
    return sum(worker["load"] for worker in gateway.workers())


async def to_the_end(client: HttpClient, events: Any) -> str:
    """Return how a stream goes on: it breaks, or there are more pieces than may have been under way."""
    try:
        async with asyncio.timeout(PATIENCE):
            for _ in range(40):
                client.read(await anext(events))
    except CallError:
        return "broken"
    return "going"
