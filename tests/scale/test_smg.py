"""SMG in front of two servers: what it knows of them, and where it sends requests because of that."""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.client import CallError, HttpClient
from benchmarks.prompts import PASSAGES
from benchmarks.servers import HOST
from tests.answers import AS_A_HARNESS_ASKS, comparable, joined
from tests.process import MODEL
from tests.scale.workers import IS_MISSING, REASON, Worker

if TYPE_CHECKING:
    from benchmarks.client import Fields
    from benchmarks.gateways import Gateway
    from tests.scale.conftest import Opening

pytestmark = pytest.mark.skipif(IS_MISSING, reason=REASON)

CHAT = "/v1/chat/completions"
FRANCE = "The capital of France is"
SEEDED: Fields = {"model": MODEL, "prompt": FRANCE, "max_tokens": 4, "seed": 3, "temperature": 1.0}
TOKENS = 2048
SLOTS = 2
NO_PROTECTION = "--disable-worker-overload-protection"
"""Without it SMG leaves out a worker where eight wait, whatever its policy."""


async def answer_of(port: int, fields: Fields, path: str = "/v1/completions") -> Fields:
    client = HttpClient(HOST, port, path)
    (answer,) = [client.read(event) async for event in client.events(fields)]
    return answer


async def chunks_of(port: int, fields: Fields) -> list[Fields]:
    client = HttpClient(HOST, port)
    return [client.read(event) async for event in client.events(fields | {"stream": True})]


async def wait_for_loads(gateway: Gateway, workers: list[Worker]) -> dict[str, dict[str, Any]]:
    urls = {worker.url for worker in workers}
    await asyncio.to_thread(gateway.wait_until, lambda: gateway.loads().keys() == urls)
    return gateway.loads()


async def test_it_knows_model_context_capacity_and_load(pair: list[Worker], open_gateway: Opening) -> None:
    with open_gateway(pair) as gateway:
        loads = await wait_for_loads(gateway, pair)
        told = gateway.workers()
        served = gateway.ask("/v1/models")["data"]
    assert [card["id"] for card in served] == [MODEL]
    for worker in told:
        (card,) = worker["models"]
        assert (worker["model_id"], card["context_length"]) == (MODEL, TOKENS)
        load = loads[worker["url"]]
        assert (load["max_total_num_tokens"], load["max_running_requests"]) == (TOKENS, SLOTS)
        assert (load["num_running_reqs"], load["num_waiting_reqs"], load["token_usage"]) == (0, 0, 0)


async def test_a_worker_that_is_added_as_generic_is_asked_for_more(
    pair: list[Worker], open_gateway: Opening
) -> None:
    first, second = pair
    with open_gateway([first]) as gateway:
        gateway.add(second.url, runtime_type="generic")
        await asyncio.to_thread(gateway.wait_until_ready, [first.url, second.url])
        (labels,) = (each["labels"] for each in gateway.workers() if each["url"] == second.url)
    assert (labels["context_length"], labels["max_total_tokens"]) == (str(TOKENS), str(TOKENS))
    assert (labels["max_running_requests"], labels["is_generation"]) == (str(SLOTS), "true")


async def test_nothing_is_asked_in_vain(pair: list[Worker], open_gateway: Opening) -> None:
    """Neither when a worker is registered nor later, nor what SMG's own clients may ask of one.

    What is asked every second is in the log only where it fails.
    """
    begun = [worker.log.stat().st_size for worker in pair]
    with open_gateway(pair, "--policy", "round_robin") as gateway:
        await wait_for_loads(gateway, pair)
        for _ in pair:
            for path in ("/get_server_info", "/get_model_info", "/v1/models"):
                gateway.ask(path)
            await answer_of(gateway.port, SEEDED)
    asked: dict[str, set[str]] = {}
    for worker, start in zip(pair, begun, strict=True):
        told = worker.log.read_bytes()[start:].decode()
        for path, status in re.findall(r"nucleus\.access: \S+ \w+ '?([^' ]+)'? (\d+) ", told):
            asked.setdefault(path, set()).add(status)
    infos = {"/v1/models", "/version", "/server_info", "/get_server_info", "/get_model_info"}
    assert infos | {"/v1/completions"} <= asked.keys()
    assert {path: statuses for path, statuses in asked.items() if statuses != {"200"}} == {}


async def test_answers_are_those_of_a_worker(pair: list[Worker], open_gateway: Opening) -> None:
    alone = pair[0].port
    chat = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "seed": 1}
    rich = SEEDED | {"logprobs": 2, "n": 2, "prompt": [FRANCE, "天气"], "top_k": 40, "min_tokens": 2}
    scored = AS_A_HARNESS_ASKS | {"model": MODEL, "prompt": PASSAGES[:3]}
    right, right_scores = await answer_of(alone, rich), await answer_of(alone, scored)
    right_chat = await answer_of(alone, chat, CHAT)
    with open_gateway(pair, "--policy", "round_robin") as gateway:
        for _ in pair:
            assert comparable(await answer_of(gateway.port, rich)) == comparable(right)
            assert joined(await chunks_of(gateway.port, rich)) == right["choices"]
            assert comparable(await answer_of(gateway.port, scored)) == comparable(right_scores)
            assert comparable(await answer_of(gateway.port, chat, CHAT)) == comparable(right_chat)
        with pytest.raises(CallError, match="No worker available for model 'other'"):
            await answer_of(gateway.port, SEEDED | {"model": "other"})


@pytest.mark.parametrize("policy", ["least_load", "power_of_two"])
async def test_a_busy_worker_gets_no_requests(policy: str, pair: list[Worker], open_gateway: Opening) -> None:
    """It is busy with what did not come through the gateway, so only its own figures can tell."""
    busy, idle = pair
    options = ("--policy", policy, "--least-load-default-throughput", 10_000, NO_PROTECTION)
    with open_gateway(pair, *options) as gateway:
        generated = idle.metric("completion_tokens_total")
        direct = HttpClient(HOST, busy.port)
        long = SEEDED | {"max_tokens": 900, "ignore_eos": True, "stream": True}
        crowd = [asyncio.create_task(_drain(direct, long)) for _ in range(SLOTS + 6)]
        await asyncio.to_thread(gateway.wait_until, lambda: _waiting(gateway, busy) == 6)
        load = gateway.loads()[busy.url]
        assert (load["num_running_reqs"], load["utilization"]) == (SLOTS, 1.0)
        assert load["gen_throughput"] > 0
        assert 0 < load["token_usage"] <= 1
        for _ in range(4):
            await answer_of(gateway.port, SEEDED)
        for task in crowd:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)
        assert idle.metric("completion_tokens_total") == generated + 4 * SEEDED["max_tokens"]


async def _drain(client: HttpClient, fields: Fields) -> None:
    async with aclosing(client.events(fields)) as events:
        async for _ in events:
            pass


def _waiting(gateway: Gateway, worker: Worker) -> int:
    load = gateway.loads().get(worker.url, {"num_waiting_reqs": 0})
    return int(load["num_waiting_reqs"])


async def test_a_conversation_stays_with_its_worker(pair: list[Worker], open_gateway: Opening) -> None:
    """Each turn finds the turns before it in the cache, wherever the conversation began."""
    prompts = [f"{number}. {PASSAGES[number][:400]}" for number in range(4)]
    with open_gateway(pair, "--policy", "cache_aware") as gateway:
        before = [worker.metric("prompt_tokens_total") for worker in pair]
        for turn in range(2):
            for number, prompt in enumerate(prompts):
                answer = await answer_of(gateway.port, SEEDED | {"prompt": prompt})
                usage = answer["usage"]
                cached = usage["prompt_tokens_details"]["cached_tokens"]
                assert cached > 0.8 * usage["prompt_tokens"] if turn else cached < 16
                prompts[number] = f"{prompt}{answer['choices'][0]['text']} And then?"
        after = [worker.metric("prompt_tokens_total") for worker in pair]
    assert all(now > then for now, then in zip(after, before, strict=True)), "each has some of them"
