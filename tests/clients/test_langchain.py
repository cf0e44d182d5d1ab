"""LangChain's `OpenAI` as the client: what it makes of an answer is what the Python door says.

Its own count of tokens, by a tokenizer that is not the model's, is needed with `max_tokens=-1` alone.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

import openai
import pytest
from langchain_openai import OpenAI
from pydantic import SecretStr

from tests.clients import KEY
from tests.doors import Answer, PythonDoor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from engine.service.service import CompletionService

FRANCE, WEATHER = "The capital of France is", "天气非常好"
CASES: dict[str, Answer] = {
    "defaults but for the length": {"max_tokens": 8},
    "greedy": {"max_tokens": 8, "temperature": 0},
    "several choices": {"max_tokens": 4, "n": 2},
    "the best two of three": {"max_tokens": 4, "n": 2, "best_of": 3},
    "logprobs": {"max_tokens": 4, "logprobs": 2},
    "penalties and a bias": {
        "max_tokens": 6,
        "presence_penalty": 1.0,
        "frequency_penalty": 0.5,
        "logit_bias": {"7042": -100},
    },
}


@pytest.fixture(scope="module")
async def door(service: CompletionService) -> AsyncIterator[PythonDoor]:
    async with PythonDoor(service) as opened:
        yield opened


@pytest.fixture
async def llm(base_url: str, model: str) -> AsyncIterator[Any]:
    """Make a client of some parameters."""
    with openai.DefaultHttpxClient() as http:
        async with openai.DefaultAsyncHttpxClient() as http_async:
            yield functools.partial(
                OpenAI,
                model=model,
                base_url=base_url,
                api_key=SecretStr(KEY),
                seed=7,
                max_retries=0,
                http_client=http,
                http_async_client=http_async,
            )


@pytest.mark.parametrize("case", CASES)
async def test_a_batch_of_prompts_has_its_answers_in_order(llm: Any, door: PythonDoor, case: str) -> None:
    fields = {"temperature": 0.7, **CASES[case]}  # its own default
    expected = await door.complete(prompt=[FRANCE, WEATHER], seed=7, **fields)
    result = await llm(**CASES[case]).agenerate([FRANCE, WEATHER])
    found = [generation for prompt in result.generations for generation in prompt]
    assert [len(prompt) for prompt in result.generations] == [CASES[case].get("n", 1)] * 2
    assert [
        {"text": one.text, "index": index, **(one.generation_info or {})} for index, one in enumerate(found)
    ] == expected["choices"]
    assert result.llm_output["token_usage"]["total_tokens"] == expected["usage"]["total_tokens"]


async def test_a_stream_joined_is_the_answer(llm: Any, door: PythonDoor) -> None:
    (expected,) = (await door.complete(prompt=WEATHER, seed=7, max_tokens=8, temperature=0))["choices"]
    client = llm(max_tokens=8, temperature=0)
    chunks = [chunk async for chunk in client.astream(WEATHER)]
    assert len(chunks) > 2
    assert "".join(chunks) == expected["text"]
    assert "".join(await asyncio.to_thread(lambda: list(client.stream(WEATHER)))) == expected["text"]


async def test_a_stream_put_together_by_the_client_is_the_answer(llm: Any, door: PythonDoor) -> None:
    fields = {"max_tokens": 8, "logprobs": 3, "temperature": 1.0}
    (expected,) = (await door.complete(prompt=WEATHER, seed=7, **fields))["choices"]
    result = await llm(streaming=True, **fields).agenerate([WEATHER])
    ((whole,),) = result.generations
    assert {"text": whole.text, "index": 0, **whole.generation_info} == expected


async def test_a_stop_string_and_a_seed_reach_the_server(llm: Any, door: PythonDoor) -> None:
    fields: dict[str, Any] = {"prompt": FRANCE, "seed": 7, "max_tokens": 20, "temperature": 0.5}
    (expected,) = (await door.complete(stop=["a"], **fields))["choices"]
    assert expected["finish_reason"] == "stop"
    client = llm(max_tokens=20, temperature=0.5)
    assert await client.ainvoke(FRANCE, stop=["a"]) == expected["text"]
    assert await asyncio.to_thread(client.invoke, FRANCE, stop=["a"]) == expected["text"]


async def test_a_refusal_keeps_its_field(llm: Any) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await llm(temperature=3).ainvoke(FRANCE)
    assert caught.value.param == "temperature"
