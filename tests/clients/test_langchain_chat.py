"""LangChain's `ChatOpenAI` as the client: what it makes of an answer is what the Python door says."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

import openai
import pytest
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from tests.clients import KEY
from tests.clients.forms import ASKED, Weather
from tests.doors import Answer, PythonDoor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from engine.service.service import CompletionService

SAID = [("system", "Be brief."), ("human", "天气非常好")]
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "天气非常好"}]
FIELDS: Answer = {"max_completion_tokens": 6, "temperature": 0.5, "logprobs": True, "top_logprobs": 1}


@pytest.fixture(scope="module")
async def expected(service: CompletionService) -> Answer:
    async with PythonDoor(service) as door:
        answer: Answer = (await door.chat(messages=MESSAGES, seed=7, **FIELDS))["choices"][0]
        return answer


@pytest.fixture
async def chat(base_url: str, model: str) -> AsyncIterator[Any]:
    """Make a client of some parameters."""
    with openai.DefaultHttpxClient() as http:
        async with openai.DefaultAsyncHttpxClient() as http_async:
            yield functools.partial(
                ChatOpenAI,
                model=model,
                base_url=base_url,
                api_key=SecretStr(KEY),
                seed=7,
                max_retries=0,
                http_client=http,
                http_async_client=http_async,
            )


async def test_an_answer_is_that_of_the_python_door(chat: Any, expected: Answer) -> None:
    answer = await chat(**FIELDS).ainvoke(SAID)
    assert answer.content == expected["message"]["content"]
    assert answer.response_metadata["finish_reason"] == expected["finish_reason"]
    assert answer.response_metadata["logprobs"] == expected["logprobs"]
    assert answer.usage_metadata["output_tokens"] == 6


async def test_a_stream_joined_is_that_answer(chat: Any, expected: Answer) -> None:
    client = chat(**FIELDS, stream_usage=True)
    chunks = [chunk async for chunk in client.astream(SAID)]
    assert len(chunks) > 4
    assert "".join(chunk.content for chunk in chunks) == expected["message"]["content"]
    blocking = await asyncio.to_thread(lambda: [chunk.content for chunk in client.stream(SAID)])
    assert "".join(blocking) == expected["message"]["content"]
    assert sum(chunk.usage_metadata["output_tokens"] for chunk in chunks if chunk.usage_metadata) == 6


@pytest.mark.parametrize("method", ["json_schema", "json_mode"])
async def test_structured_output(chat: Any, method: str) -> None:
    structured = chat(max_completion_tokens=64).with_structured_output(
        Weather if method == "json_schema" else None, method=method
    )
    answer = await structured.ainvoke([("human", ASKED[0]["content"])])
    assert isinstance(answer, Weather if method == "json_schema" else dict)
