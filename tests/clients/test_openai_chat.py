"""The official SDK as the client of the chat shape: its answers are those of the Python door."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import openai
import pytest
from openai.lib.streaming.chat import ChunkEvent

from tests.answers import counted
from tests.clients import KEY
from tests.clients.forms import ASKED, Weather
from tests.doors import Answer, PythonDoor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from engine.service.service import CompletionService

MESSAGES: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "天气非常好"}]
CASES: dict[str, Answer] = {
    "greedy": {"temperature": 0, "max_completion_tokens": 6},
    "several choices": {"n": 2, "max_tokens": 4},
    "logprobs": {"logprobs": True, "top_logprobs": 2, "max_tokens": 4},
    "fields that say nothing": {"store": False, "metadata": {"a": "b"}, "user": "me", "max_tokens": 2},
}


@pytest.fixture(scope="module")
async def client(base_url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=base_url, api_key=KEY, max_retries=0) as sdk:
        yield sdk


@pytest.fixture(scope="module")
async def door(service: CompletionService) -> AsyncIterator[PythonDoor]:
    async with PythonDoor(service) as opened:
        yield opened


@pytest.mark.parametrize("case", CASES)
async def test_an_answer_is_that_of_the_python_door(
    client: openai.AsyncOpenAI, model: str, door: PythonDoor, case: str
) -> None:
    expected = await door.chat(messages=MESSAGES, seed=7, **CASES[case])
    answer = await client.chat.completions.create(model=model, messages=MESSAGES, seed=7, **CASES[case])
    told = answer.to_dict()
    assert told["choices"] == expected["choices"]
    assert counted(cast("Answer", told["usage"])) == counted(expected["usage"])
    assert answer.choices[0].message.refusal is None


async def test_a_stream_put_together_by_the_client_is_the_answer(
    client: openai.AsyncOpenAI, model: str, door: PythonDoor
) -> None:
    """Each choice comes to its own end: the SDK raises where one is cut short."""
    fields: Any = {"n": 2, "logit_bias": {"2": 100}, "logprobs": True, "top_logprobs": 1, "seed": 7}
    expected = await door.chat(messages=MESSAGES, min_tokens=3, **fields)
    async with client.chat.completions.stream(
        model=model,
        messages=MESSAGES,
        stream_options={"include_usage": True},
        extra_body={"min_tokens": 3},
        **fields,
    ) as stream:
        events = [event async for event in stream]
        answer = await stream.get_final_completion()
    assert sum(isinstance(event, ChunkEvent) for event in events) >= 2 * (1 + 1 + 1) + 1
    assert [choice.message.content for choice in answer.choices] == [
        choice["message"]["content"] for choice in expected["choices"]
    ]
    for choice, same in zip(answer.choices, expected["choices"], strict=True):
        assert choice.logprobs is not None
        assert choice.logprobs.to_dict()["content"] == same["logprobs"]["content"]
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 8


async def test_a_refusal_names_its_field(client: openai.AsyncOpenAI, model: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model=model, messages=MESSAGES, temperature=3)
    assert caught.value.param == "temperature"
    tool: Any = {"type": "function", "function": {"name": "f", "parameters": {}}}
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model=model, messages=MESSAGES, tools=[tool])
    assert caught.value.param == "tools"
    with pytest.raises(openai.NotFoundError):
        await client.chat.completions.create(model="gpt-4", messages=MESSAGES)


async def test_an_answer_is_parsed_as_a_model(client: openai.AsyncOpenAI, model: str) -> None:
    asked: Any = ASKED
    answer = await client.chat.completions.parse(
        model=model, messages=asked, response_format=Weather, seed=1, max_tokens=64
    )
    assert isinstance(answer.choices[0].message.parsed, Weather)
    async with client.chat.completions.stream(
        model=model, messages=asked, response_format=Weather, seed=1, max_tokens=64
    ) as stream:
        streamed = await stream.get_final_completion()
    assert streamed.choices[0].message.parsed == answer.choices[0].message.parsed
