"""What an editor shows of the Python door: mypy, which checks this file, and the objects say the same."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any, assert_type

from pydantic import BaseModel

from engine import (
    LLM,
    AsyncLLM,
    ChatCompletion,
    ChatCompletionChunk,
    Completion,
    CompletionChunk,
    EngineError,
    Generated,
    Score,
)
from engine.parsed import ParsedChatCompletion, ParsedCompletion
from tests.many.conftest import quick_llm
from tests.quick import AnyText, engine_of, service_of

SCHEMA = {"type": "object"}


class City(BaseModel):
    """A form of answers."""

    name: str


def test_the_face_for_code_that_blocks() -> None:
    with quick_llm() as llm:
        assert_type(llm, LLM)
        check_one(llm)
        check_many(llm)


def check_one(llm: LLM) -> None:
    completion = llm.complete(prompt="A", max_tokens=1)
    assert_type(completion, Completion)
    assert type(completion) is Completion
    stream = llm.stream(prompt="A", max_tokens=1)
    assert_type(stream, Generator[CompletionChunk])
    assert type(next(stream)) is CompletionChunk
    chat = llm.chat(messages=[{"role": "user", "content": "A"}], max_tokens=1)
    assert_type(chat, ChatCompletion)
    assert type(chat) is ChatCompletion
    chunks = llm.stream_chat(messages=[{"role": "user", "content": "A"}], max_tokens=1)
    assert_type(chunks, Generator[ChatCompletionChunk])
    assert type(next(chunks)) is ChatCompletionChunk


def check_many(llm: LLM) -> None:
    results = llm.generate(["A", [1, 2], {"prompt": "B", "max_tokens": 2}], max_tokens=1)
    assert_type(results, list[Generated[Completion]])
    assert_type(results[0].completion, Completion)
    assert_type(results[0].error, EngineError | None)
    assert_type(results[0].text, str)
    assert type(results[0].completion) is Completion
    iterator = llm.generate_iter((letter for letter in "AB"), max_tokens=1)
    assert_type(iterator, Generator[Generated[Completion], None, None])
    assert type(next(iterator)) is Generated
    scores = llm.score(["A", [1, 2]])
    assert_type(scores, list[Score])
    assert_type(scores[0].token_logprobs, list[float | None])
    assert_type((scores[0].sum, scores[0].perplexity, scores[0].count), tuple[float, float, int])
    assert type(scores[0]) is Score


def forms(llm: LLM, other: AsyncLLM) -> None:
    """For mypy alone: the model without weights knows no forms."""
    assert_type(llm.complete(prompt="A", json=City), ParsedCompletion[City])
    assert_type(llm.complete(prompt="A", json=City).choices[0].parsed, City | None)
    assert_type(llm.complete(prompt="A", json=SCHEMA), ParsedCompletion[Any])
    assert_type(llm.chat(messages=[], json=City), ParsedChatCompletion[City])
    assert_type(llm.generate(["A"], json=City), list[Generated[ParsedCompletion[City]]])
    assert_type(llm.generate(["A"], json=City)[0].completion.choices[0].parsed, City | None)
    assert_type(llm.generate(["A"], json=SCHEMA), list[Generated[ParsedCompletion[Any]]])
    parsed = llm.generate_iter(["A"], json=City)
    assert_type(parsed, Generator[Generated[ParsedCompletion[City]], None, None])
    twin = other.generate_iter(["A"], json=City)
    assert_type(twin, AsyncGenerator[Generated[ParsedCompletion[City]], None])
    llm.generate(["A"], max_tokens="1")  # type: ignore[call-overload]
    llm.generate(["A"], max_token=1)  # type: ignore[call-overload]
    llm.generate([1])  # type: ignore[list-item]
    llm.score([1.5])  # type: ignore[list-item]


async def test_the_asynchronous_face() -> None:
    async with AsyncLLM.of(service_of(engine_of(AnyText()))) as llm:
        completion = await llm.complete(prompt="A", max_tokens=1)
        assert_type(completion, Completion)
        results = await llm.generate(["A"], max_tokens=1)
        assert_type(results, list[Generated[Completion]])
        iterator = llm.generate_iter(["A"], max_tokens=1)
        assert_type(iterator, AsyncGenerator[Generated[Completion], None])
        assert type((await anext(iterator)).completion) is Completion
        scores = await llm.score(["AB"])
        assert_type(scores, list[Score])
        assert type(scores[0]) is Score
