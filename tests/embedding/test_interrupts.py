"""Ctrl-C and cancellation at every moment of a request: it ends, its place is free, the next one works."""

from __future__ import annotations

import asyncio
import os
import signal
import types
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pytest

from engine import AsyncLLM
from tests.embedding.child import LONG, SHORT, ask, check, load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Generator
    from pathlib import Path

    from engine import LLM
    from engine.core.engine import Engine

T = TypeVar("T")
Moment = Literal["while it waits", "as it goes on"]


def interrupt_at(engine: Engine, number: int) -> None:
    """Send this process what Ctrl-C sends, in a decode from now on."""
    backend: Any = engine.backend
    start, count = type(backend).start, 0

    def counted(batch: object) -> None:
        nonlocal count
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGINT)
        start(backend, batch)

    backend.start = counted


def wait_until_free(engine: Engine) -> None:
    while engine.n_requests:  # the engine gives no sign but this one
        os.sched_yield()
    assert (engine.n_running, engine.n_waiting) == (0, 0)
    assert engine.free_cells == engine.backend.n_cells


def use_after_interrupts(model: str, how: str) -> None:
    fields = LONG | {"max_tokens": 8000}
    ways: dict[str, Callable[[LLM], object]] = {
        "complete": lambda llm: llm.complete(**fields),
        "many choices": lambda llm: llm.complete(**fields, n=6),
        "stream": lambda llm: list(llm.stream(**fields)),
        "many prompts": lambda llm: llm.generate([fields] * 9),
        "prompts one by one": lambda llm: list(llm.generate_iter([fields] * 9)),
        "long texts": lambda llm: llm.score(["abc" * 900] * 9),
    }
    with load(model) as llm:
        answer, engine = ask(llm), llm._llm.service.engine
        for number in (1, 2, 3, 7):
            interrupt_at(engine, number)
            try:
                ways[how](llm)
            except KeyboardInterrupt:
                pass
            else:
                raise AssertionError("nothing was interrupted")
            wait_until_free(engine)
            assert ask(llm) == answer
        assert engine.totals.completion_tokens < fields["max_tokens"], "a request went on after its interrupt"


@pytest.mark.parametrize(
    "how", ["complete", "many choices", "stream", "many prompts", "prompts one by one", "long texts"]
)
def test_a_model_works_after_an_interrupt_at_the_keyboard(tiny: Path, how: str) -> None:
    check(use_after_interrupts, tiny, how)


@types.coroutine
def cancelled_at(number: int, moment: Moment, work: Coroutine[Any, Any, T]) -> Generator[Any, None, T]:
    """Await a coroutine, and cancel the task at one of the moments when the coroutine has to wait."""
    task, count = asyncio.current_task(), 0
    assert task is not None
    while True:
        try:
            awaited = work.send(None)
        except StopIteration as end:
            result: T = end.value
            return result
        count += 1
        if count == number and moment == "while it waits":
            task.cancel()
        elif count == number and awaited is not None:
            awaited.add_done_callback(lambda _: task.cancel())
        try:
            yield awaited
        except BaseException as error:
            work.throw(error)
            raise AssertionError("a cancelled request went on") from error


async def drain(llm: AsyncLLM, **fields: Any) -> int:
    return len([chunk async for chunk in llm.stream(**fields)])


@pytest.fixture(scope="module")
async def llm(tiny: Path) -> AsyncIterator[AsyncLLM]:
    async with AsyncLLM(str(tiny), parallel=2, threads=1) as model:
        yield model


async def cancel_everywhere(
    llm: AsyncLLM, moment: Moment, work: Callable[[], Coroutine[Any, Any, object]]
) -> int:
    """Cancel some work at its first wait, at its second, and so on; return how many waits it has."""
    answer, engine = await llm.complete(**SHORT), llm.service.engine
    number = 0
    while True:
        number += 1
        task = asyncio.create_task(cancelled_at(number, moment, work()))
        await asyncio.wait([task])
        while engine.n_requests:  # noqa: ASYNC110 - the engine gives no sign but this one
            await asyncio.sleep(0)
        assert (engine.n_running, engine.n_waiting) == (0, 0)
        assert engine.free_cells == engine.backend.n_cells
        assert (await llm.complete(**SHORT)).choices == answer.choices
        if not task.cancelled():
            task.result()
            return number - 1


MOMENTS: list[Moment] = ["while it waits", "as it goes on"]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("prompt", ["abc", "abc" * 1400], ids=["short", "long"])
async def test_a_completion_is_cancelled_at_any_wait(llm: AsyncLLM, moment: Moment, prompt: str) -> None:
    def complete() -> Coroutine[Any, Any, object]:
        return llm.complete(prompt=prompt, max_tokens=5, n=3, ignore_eos=True)

    tokenizes_aside = len(prompt) > 4096
    assert await cancel_everywhere(llm, moment, complete) >= 1 + tokenizes_aside


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_stream_is_cancelled_at_any_wait(llm: AsyncLLM, moment: Moment) -> None:
    def stream() -> Coroutine[Any, Any, object]:
        return drain(llm, prompt="abc", max_tokens=12, n=2, ignore_eos=True, seed=1)

    assert await cancel_everywhere(llm, moment, stream) >= 1


async def test_a_stream_that_is_dropped_is_ended(llm: AsyncLLM) -> None:
    """As one is that an interrupt meets between its beginning and its first reader."""
    engine, before = llm.service.engine, llm.service.engine.totals.completion_tokens
    stream = await llm.open_stream(**LONG | {"max_tokens": 8000})
    assert engine.n_requests == 1
    del stream
    while engine.n_requests:  # noqa: ASYNC110 - the engine gives no sign but this one
        await asyncio.sleep(0)
    assert engine.totals.completion_tokens - before < 8000
