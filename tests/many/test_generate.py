"""``generate`` and ``generate_iter``: thousands of prompts, in order, a few at a time."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import aclosing
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from engine import LLM, AsyncLLM
from engine.errors import InternalError, InvalidRequestError, QueueFullError, UnavailableError
from engine.many.generation import KEPT_PER_SLOT
from tests.core.fake_backend import N_VOCAB, POISON
from tests.many.conftest import engine_behind, quick_llm
from tests.quick import AnyText, engine_of, service_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from engine.core.engine import Engine

POISONED = "".join(chr(64 + token) for token in (POISON, 1, 2, 3, 4, 5))
FIELDS: dict[str, Any] = {"max_tokens": 3, "seed": 1}


class Source:
    """A generator that counts what was taken from it, and by which threads."""

    def __init__(self, prompts: Iterator[str]) -> None:
        self._prompts = prompts
        self.taken = 0
        self.threads: set[threading.Thread] = set()

    def __iter__(self) -> Iterator[str]:
        for prompt in self._prompts:
            self.taken += 1
            self.threads.add(threading.current_thread())
            yield prompt


def wait_until_idle(engine: Engine) -> None:
    while engine.n_requests:  # the engine gives no sign but this one
        os.sched_yield()


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    with quick_llm() as quick:
        yield quick


PROMPTS = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=4),
    st.lists(st.integers(0, N_VOCAB), min_size=1, max_size=4),  # N_VOCAB is one too many
    st.fixed_dictionaries(
        {"prompt": st.text("AB", max_size=3)}, optional={"max_tokens": st.sampled_from([0, 1, 9])}
    ),
    st.sampled_from([None, 7, "A" * 300, POISONED]),
)


@settings(max_examples=40, derandomize=True, deadline=None, database=None)
@given(st.lists(PROMPTS, max_size=12))
def test_each_prompt_has_the_answer_or_the_error_that_it_has_alone(llm: LLM, prompts: list[Any]) -> None:
    results = llm.generate(iter(prompts), **FIELDS)
    assert [(result.index, result.prompt) for result in results] == [*enumerate(prompts)]
    for result, prompt in zip(results, prompts, strict=True):
        own = prompt if isinstance(prompt, dict) else {"prompt": prompt}
        if result.error is None:
            alone = llm.complete(**{**FIELDS, **own})
            assert result.completion.choices == alone.choices
            assert result.text == alone.choices[0].text
        else:
            with pytest.raises(type(result.error)) as refused:
                llm.complete(**{**FIELDS, **own})
            assert str(result.error) == str(refused.value)
            with pytest.raises(type(result.error)) as caught:
                _ = result.text
            assert caught.value.__notes__ == [f"This is about prompt {result.index}, counted from 0."]


def test_a_prompt_that_fails_in_the_engine_fails_alone(llm: LLM) -> None:
    good, bad, last = llm.generate(["A", [POISON, 1, 2, 3, 4, 5], "B"], **FIELDS)
    assert (good.error, last.error) == (None, None)
    assert isinstance(bad.error, InternalError)


def test_a_single_prompt_is_a_list_of_one(llm: LLM) -> None:
    assert [result.prompt for result in llm.generate("ABC", **FIELDS)] == ["ABC"]
    assert [result.text for result in llm.generate({"prompt": "ABC"}, **FIELDS)] == [
        llm.complete(prompt="ABC", **FIELDS).choices[0].text
    ]


def test_what_is_wrong_with_every_prompt_is_said_once_and_at_once(llm: LLM) -> None:
    source = Source(iter("ABC"))
    with pytest.raises(InvalidRequestError, match="'temperature'"):
        llm.generate(source, temperature=3)
    with pytest.raises(InvalidRequestError, match="'temperature'"):
        llm.generate_iter(source, temperature=3)
    assert source.taken == 0


class Light(BaseModel):
    """What prompts may be answered by."""

    on: bool


def test_a_form_is_checked_with_each_prompt(llm: LLM) -> None:
    with pytest.raises(InvalidRequestError, match="together"):
        llm.generate(["A"], json=Light, json_schema={})
    (result,) = llm.generate([{"prompt": "A", "json_schema": {}}], json=Light)
    assert isinstance(result.error, InvalidRequestError)


@pytest.mark.parametrize("max_requests", [1, 3, 64])
def test_no_more_prompts_are_taken_than_the_engine_may_have(max_requests: int) -> None:
    source, most = Source(str(number) for number in range(50)), 0
    with quick_llm(max_requests=max_requests) as llm:
        engine = engine_behind(llm)
        submit = engine.submit

        def counted(prompts: Any) -> Any:
            nonlocal most
            most = max(most, engine.n_requests + 1)
            return submit(prompts)

        engine.submit = counted  # type: ignore[method-assign]
        results = llm.generate_iter(source, **FIELDS)
        texts = []
        for number, result in enumerate(results, start=1):
            texts.append(result.text)
            assert source.taken <= number + KEPT_PER_SLOT * 4
    assert len(texts) == source.taken == 50
    assert most <= min(max_requests, 8)


def test_there_may_be_endless_prompts_and_they_are_taken_in_the_thread_that_iterates(llm: LLM) -> None:
    source = Source(str(number) for number in count())
    results = llm.generate_iter(source, **FIELDS)
    assert [next(results).index for _ in range(40)] == [*range(40)]
    results.close()
    assert source.threads == {threading.current_thread()}
    assert source.taken <= 40 + KEPT_PER_SLOT * 4
    wait_until_idle(engine_behind(llm))


def test_leaving_early_cancels_what_runs() -> None:
    with quick_llm(AnyText(n_cells=10_000)) as llm:
        engine = engine_behind(llm)
        results = llm.generate_iter({"prompt": "A", "max_tokens": 1 + 900 * (i > 0)} for i in count())
        next(results)
        results.close()
        wait_until_idle(engine)
        assert engine.totals.completion_tokens < 900
        assert llm.complete(prompt="A", **FIELDS).choices


def test_an_iterator_that_is_collected_in_the_thread_of_the_event_loop_cancels_what_runs() -> None:
    """That thread cannot wait for itself."""
    with quick_llm(AnyText(n_cells=10_000)) as llm:
        prompts = [{"prompt": "A", "max_tokens": 1}, {"prompt": "A", "max_tokens": 900}]
        held = [llm.generate_iter(prompts)]
        next(held[0])

        async def drop() -> None:
            held.clear()

        llm._wait(drop())
        wait_until_idle(engine_behind(llm))
        assert engine_behind(llm).totals.completion_tokens < 900


def test_an_error_of_the_prompts_ends_the_rest(llm: LLM) -> None:
    def prompts() -> Iterator[str]:
        yield "A"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        llm.generate(prompts(), max_tokens=200)
    wait_until_idle(engine_behind(llm))


def test_a_closed_model_ends_all_with_one_error() -> None:
    with quick_llm(AnyText(n_cells=10_000)) as llm:
        results = llm.generate_iter({"prompt": "A", "max_tokens": 1 + 900 * (i > 0)} for i in count())
        next(results)
        llm.close()
        with pytest.raises(UnavailableError):
            list(results)
        with pytest.raises(UnavailableError):
            llm.generate(["A"])


async def test_others_take_turns_with_many_prompts() -> None:
    backend = AnyText(n_slots=1, gated=True)
    async with AsyncLLM.of(service_of(engine_of(backend))) as llm:
        ended: list[str] = []

        async def many() -> None:
            async for result in llm.generate_iter(["A"] * 4, n=6, **FIELDS):
                assert result.error is None
                ended.append("many")

        async def one() -> None:
            await llm.complete(prompt="Z", **FIELDS)
            ended.append("one")

        both = [asyncio.create_task(many())]
        await backend.next_decode()
        both.append(asyncio.create_task(one()))
        while llm.service.engine.n_requests < 3:  # noqa: ASYNC110 - the engine gives no sign but this one
            await asyncio.sleep(0)
        backend.open_gate()
        await asyncio.gather(*both)
    assert ended == ["one", *["many"] * 4]


async def test_a_queue_that_others_fill_is_waited_for() -> None:
    backend, refused = AnyText(gated=True), asyncio.Event()
    async with AsyncLLM.of(service_of(engine_of(backend, max_requests=2))) as llm:
        submit = llm.service.engine.submit

        def told(prompts: Any) -> Any:
            try:
                return submit(prompts)
            except QueueFullError:
                refused.set()
                raise

        llm.service.engine.submit = told  # type: ignore[method-assign]
        others = [asyncio.create_task(llm.complete(prompt="A", **FIELDS)) for _ in range(2)]
        await backend.next_decode()
        many = asyncio.create_task(llm.generate(["A", "B", "C"], **FIELDS))
        await refused.wait()
        backend.open_gate()
        assert all(result.error is None for result in await many)
        await asyncio.gather(*others)


async def test_the_asynchronous_face_takes_both_kinds_of_iterables() -> None:
    async def prompts() -> AsyncIterator[str]:
        for prompt in "ABCDEFGH":
            await asyncio.sleep(0)
            yield prompt

    async with AsyncLLM.of(service_of(engine_of(AnyText()))) as llm:
        results = await llm.generate(prompts(), **FIELDS)
        assert [result.prompt for result in results] == [*"ABCDEFGH"]
        assert [result.text for result in await llm.generate("ABCDEFGH"[:1], **FIELDS)] == [results[0].text]
        async with aclosing(llm.generate_iter(str(i) for i in count())) as endless:
            assert [(await anext(endless)).index for _ in range(5)] == [*range(5)]
        await asyncio.to_thread(wait_until_idle, llm.service.engine)
