"""Work on many items: some are under way at once, and the results come in the order of the items."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, Callable, Coroutine, Mapping
from contextlib import aclosing, closing, suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from engine.errors import QueueFullError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Generator, Iterable

    from engine.many.progress import Bar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
Many = TypeVar("Many")
T = TypeVar("T")
Advance = Callable[[float, int], None]
"""What work calls as it goes on: with the share of its item that is done now, and the tokens that took."""

_END: Any = object()
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.01, 1.0


class Batch(Generic[ItemT, ResultT]):
    """Items under way, and results whose turn has not come.

    Its coroutines run in one event loop. The rest may be read and called from any thread.

    Args:
        work: Makes a result of an item; it is given the item's number, from 0, the item, and what to call as
            it goes on.
        at_once: Most items under way.
        ahead: Most items that were added and whose results were not taken.

    Attributes:
        done: How many items are done, with shares of those under way.
        n_tokens: The tokens that took.
    """

    def __init__(
        self,
        work: Callable[[int, ItemT, Advance], Coroutine[Any, Any, ResultT]],
        *,
        at_once: int,
        ahead: float,
    ) -> None:
        self._work = work
        self._at_once, self._ahead = at_once, ahead
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False
        self._n_added = 0
        self._tasks: deque[asyncio.Task[ResultT]] = deque()  # in order; the results of some are there already
        self._running: set[asyncio.Task[ResultT]] = set()
        self._changed = asyncio.Event()
        self.done = 0.0
        self.n_tokens = 0

    @property
    def is_empty(self) -> bool:
        """True if the result of every item was taken."""
        return not self._tasks

    @property
    def has_room(self) -> bool:
        """True if one more item may be added."""
        return len(self._running) < self._at_once and len(self._tasks) < self._ahead

    @property
    def has_result(self) -> bool:
        """True if the result that is next is there."""
        return bool(self._tasks) and self._tasks[0].done()

    async def add(self, item: ItemT) -> None:
        """Begin to work on an item, unless the batch is closed: an interrupt may come before its turn."""
        self._loop = asyncio.get_running_loop()
        if self._is_closed:
            return
        task = self._loop.create_task(self._work(self._n_added, item, self._advance))
        self._n_added += 1
        self._tasks.append(task)
        self._running.add(task)
        task.add_done_callback(self._end)
        await asyncio.sleep(0)  # let it begin before the next item is taken

    async def results(self) -> list[ResultT]:
        """Wait until some work has gone on; return the results that are next, if there are any.

        Raises:
            Exception: what the work on the next item has raised.
        """
        if not self.has_result:
            await self._changed.wait()
        self._changed.clear()
        ready: list[ResultT] = []
        while self.has_result and not (ready and self._tasks[0].exception()):
            task = self._tasks.popleft()
            self._running.discard(task)  # its callback may not have run
            ready.append(task.result())
        return ready

    def close(self) -> None:
        """Cancel what is under way, from any thread, and wait for nothing."""
        self._is_closed = True
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed, so nothing is under way
                self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        for task in self._running:
            task.cancel()

    def _advance(self, share: float, n_tokens: int) -> None:
        self.done += share
        self.n_tokens += n_tokens
        self._changed.set()

    def _end(self, task: asyncio.Task[ResultT]) -> None:
        self._running.discard(task)
        self._changed.set()
        if not task.cancelled():
            task.exception()  # or asyncio logs those whose turn never comes


def in_order(
    batch: Batch[ItemT, ResultT],
    items: Iterable[ItemT],
    wait: Callable[[Coroutine[Any, Any, Any]], Any],
    bar: Bar,
) -> Generator[ResultT, None, None]:
    """Yield the result of each item; items are taken when there is room for them, in the caller's thread.

    Args:
        batch: The work, new.
        items: What to work on.
        wait: Runs one of the batch's coroutines to its end.
        bar: Shows how far the work is.
    """
    source, is_more = iter(items), True
    with closing(batch), bar:
        while is_more or not batch.is_empty:
            while is_more and batch.has_room and not batch.has_result:
                if (item := next(source, _END)) is _END:
                    is_more = False
                else:
                    wait(batch.add(item))
            results = [] if batch.is_empty else wait(batch.results())
            bar.show(batch.done, batch.n_tokens)
            yield from results


async def in_order_async(
    batch: Batch[ItemT, ResultT], items: Iterable[ItemT] | AsyncIterable[ItemT], bar: Bar
) -> AsyncGenerator[ResultT, None]:
    """Do what :func:`in_order` does, in an event loop."""
    is_more = True
    with closing(batch), bar:
        async with aclosing(_each(items)) as source:
            while is_more or not batch.is_empty:
                while is_more and batch.has_room and not batch.has_result:
                    if (item := await anext(source, _END)) is _END:
                        is_more = False
                    else:
                        await batch.add(item)
                results = [] if batch.is_empty else await batch.results()
                bar.show(batch.done, batch.n_tokens)
                for result in results:
                    yield result


def one_or_many(items: Many) -> Many:
    """Return several items as they are, and a single one as a list: to iterate it would take it apart."""
    return cast("Many", [items]) if isinstance(items, str | Mapping) else items


async def with_room(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask for something, and again for as long as others fill the engine's queue."""
    delay = _FIRST_DELAY_S
    while True:
        try:
            return await ask()
        except QueueFullError:
            await asyncio.sleep(delay)
            delay = min(2 * delay, _LONGEST_DELAY_S)


async def _each(items: Iterable[T] | AsyncIterable[T]) -> AsyncGenerator[T, None]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
