"""The official SDK as the client, against a running server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import openai
import pytest

from tests.clients import KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PROMPT = "The capital of France is"


@pytest.fixture(scope="module")
async def client(base_url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=base_url, api_key=KEY, max_retries=0) as sdk:
        yield sdk


async def test_create(client: openai.AsyncOpenAI, model: str) -> None:
    answer = await client.completions.create(model=model, prompt=PROMPT, max_tokens=8, temperature=0)
    assert answer.choices[0].text.startswith(" Paris")
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 8


async def test_stream(client: openai.AsyncOpenAI, model: str) -> None:
    whole = await client.completions.create(model=model, prompt=PROMPT, max_tokens=8, temperature=0, seed=1)
    stream = await client.completions.create(
        model=model,
        prompt=PROMPT,
        max_tokens=8,
        temperature=0,
        seed=1,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == whole.choices[0].text
    assert chunks[-1].usage == whole.usage


async def test_several_choices(client: openai.AsyncOpenAI, model: str) -> None:
    answer = await client.completions.create(model=model, prompt=PROMPT, max_tokens=8, n=3, seed=1)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.text for choice in answer.choices}) == 3


async def test_logprobs(client: openai.AsyncOpenAI, model: str) -> None:
    answer = await client.completions.create(
        model=model, prompt=PROMPT, max_tokens=4, temperature=0, logprobs=5
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.tokens is not None
    assert "".join(logprobs.tokens) == answer.choices[0].text
    assert logprobs.top_logprobs is not None
    assert [len(top) for top in logprobs.top_logprobs] == [5] * 4
    assert logprobs.text_offset is not None
    assert logprobs.text_offset[0] == len(PROMPT)


async def test_an_unknown_model_raises_not_found(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await client.completions.create(model="gpt-4", prompt=PROMPT)
    assert caught.value.code == "model_not_found"


async def test_a_bad_field_raises_bad_request_and_names_it(client: openai.AsyncOpenAI, model: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.completions.create(model=model, prompt=PROMPT, temperature=3)
    assert caught.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as caught:
        await client.completions.create(model=model, prompt=PROMPT, logprobs=6, stream=True)
    assert caught.value.param == "logprobs"


async def test_a_wrong_key_raises_authentication_error(base_url: str, model: str) -> None:
    async with openai.AsyncOpenAI(base_url=base_url, api_key="sk-wrong", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError) as caught:
            await stranger.completions.create(model=model, prompt=PROMPT)
    assert "Incorrect API key provided" in caught.value.message  # clients look for these words


async def test_models_are_listed(client: openai.AsyncOpenAI, model: str) -> None:
    assert [card.id async for card in client.models.list()] == [model]
