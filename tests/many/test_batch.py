"""Work on many items: which is under way, what is kept, and in which order results come."""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import QueueFullError
from engine.many.batch import Batch, in_order, in_order_async, with_room
from engine.many.progress import Bar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.many.batch import Advance

NO_BAR = Bar([], "item", shown=False)
ITEMS = st.lists(st.integers(0, 6), max_size=30)
"""How many turns of the event loop each item takes."""


class Work:
    """Takes as many turns as its item says, and knows what is under way."""

    def __init__(self) -> None:
        self.under_way = self.most = 0

    async def __call__(self, index: int, turns: int, advance: Advance) -> tuple[int, int]:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        for _ in range(turns):
            await asyncio.sleep(0)
        self.under_way -= 1
        advance(1, turns)
        return index, turns


@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@given(ITEMS, st.integers(1, 5), st.sampled_from([1, 2, 7, inf]))
def test_results_are_in_order_and_no_more_is_taken_than_there_is_room_for(
    items: list[int], at_once: int, ahead: float
) -> None:
    work, taken, got = Work(), 0, []

    def source() -> Iterator[int]:
        nonlocal taken
        for item in items:
            taken += 1
            yield item

    async def run() -> None:
        batch = Batch(work, at_once=at_once, ahead=ahead)
        async for result in in_order_async(batch, source(), NO_BAR):
            got.append(result)
            assert taken <= len(got) + min(ahead, len(items))
        assert (batch.done, batch.n_tokens, batch.is_empty) == (len(items), sum(items), True)

    asyncio.run(run())
    assert got == [*enumerate(items)]
    assert work.most <= min(at_once, ahead)


async def test_others_go_on_beside_the_first_which_takes_longer() -> None:
    """Up to what may be kept: the first one ends when the tenth has."""
    work, gate = Work(), asyncio.Event()

    async def first_waits(index: int, item: int, advance: Advance) -> tuple[int, int]:
        result = await work(index, item, advance)
        if index == 0:
            await gate.wait()
        elif index == 9:
            gate.set()
        return result

    batch = Batch(first_waits, at_once=2, ahead=10)
    assert [index async for index, _ in in_order_async(batch, [1] * 30, NO_BAR)] == [*range(30)]


async def test_an_item_is_taken_when_the_results_before_it_are_handed_over() -> None:
    """So a prompt may depend on the answers so far."""
    handed_over: list[int] = []

    def source() -> Iterator[int]:
        for number in range(20):
            assert len(handed_over) >= number - 1
            yield 0

    async for index, _ in in_order_async(Batch(Work(), at_once=16, ahead=inf), source(), NO_BAR):
        handed_over.append(index)
    assert len(handed_over) == 20


async def fail(index: int, item: int, advance: Advance) -> int:
    await asyncio.sleep(0)
    if index >= item:
        raise ZeroDivisionError
    return index


@pytest.mark.parametrize("number", [0, 1, 5])
async def test_results_before_a_failure_come_first(number: int) -> None:
    results = in_order_async(Batch(fail, at_once=4, ahead=inf), [number] * 9, NO_BAR)
    assert [await anext(results) for _ in range(number)] == [*range(number)]
    with pytest.raises(ZeroDivisionError):
        await anext(results)


def test_code_that_blocks_has_the_same_in_the_same_order() -> None:
    with asyncio.Runner() as runner:
        items = [3, 0, 2, 0, 5, 1] * 4
        batch = Batch(Work(), at_once=3, ahead=7)
        assert [*in_order(batch, items, runner.run, NO_BAR)] == [*enumerate(items)]


async def test_closing_cancels_what_is_under_way() -> None:
    cancelled: list[int] = []
    all_began, never = asyncio.Event(), asyncio.Event()

    async def endless(index: int, item: int, advance: Advance) -> int:
        if index == 2:
            all_began.set()
        try:
            await (all_began if index == 0 else never).wait()
        except asyncio.CancelledError:
            cancelled.append(index)
            raise
        return index

    results = in_order_async(Batch(endless, at_once=3, ahead=inf), [0] * 9, NO_BAR)
    assert await anext(results) == 0
    await results.aclose()
    while len(cancelled) < 2:  # noqa: ASYNC110 - whoever is cancelled gives no sign but this one
        await asyncio.sleep(0)


async def test_what_an_interrupt_overtakes_does_not_begin() -> None:
    """Its coroutine may run in the event loop after the batch was closed in another thread."""
    work = Work()
    batch = Batch(work, at_once=3, ahead=inf)
    batch.close()
    await batch.add(0)
    await asyncio.sleep(0)
    assert (work.most, batch.is_empty) == (0, True)


async def test_a_full_queue_is_asked_again() -> None:
    answers = iter([QueueFullError("full"), QueueFullError("full"), None])

    async def ask() -> str:
        if (error := next(answers)) is not None:
            raise error
        return "there"

    assert await with_room(ask) == "there"
