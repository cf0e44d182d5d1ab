"""The engine thread: whoever comes, goes or fails, the others never notice."""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from engine.core.policy import SchedulingPolicy
from engine.errors import QueueFullError
from tests.core.fake_backend import END, FakeBackend
from tests.core.runs import FIRST, SECOND, THIRD, alone, by_choice, prompt, read

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.core.engine import Engine

    Start = Callable[..., Engine]


pytestmark = pytest.mark.usefixtures("order")


class TestRunning:
    async def test_the_deltas_of_a_choice_come_in_order_and_end_once(self, start: Start) -> None:
        engine = start(FakeBackend(n_slots=4))
        deltas = by_choice(await read(engine.submit([prompt(FIRST, n=3, max_tokens=5)])))
        assert sorted(deltas) == [0, 1, 2]
        for own in deltas.values():
            assert [delta.is_last for delta in own] == [False] * 4 + [True]
            assert own[-1].finish_reason == "length"
            scores = [score for delta in own for score in delta.scores]
            assert [score.offset for score in scores] == [3, 4, 5, 6, 7]
            assert "".join(delta.text for delta in own) == "".join(chr(64 + score.token) for score in scores)
        assert len({"".join(delta.text for delta in own) for own in deltas.values()}) == 3

    async def test_requests_at_once_give_what_each_gives_alone(self, start: Start) -> None:
        """More choices than slots: some run from the start, some fork, some wait for a second wave."""
        engine = start(FakeBackend(n_slots=3, n_batch=5))
        wanted = [(FIRST, 4), (SECOND, 2), (THIRD, 1), ([4] * 17, 3)]
        runs = [engine.submit([prompt(tokens, n, seed=n)]) for tokens, n in wanted]
        answers = await asyncio.gather(*map(read, runs))
        for (tokens, n), answer in zip(wanted, answers, strict=True):
            assert by_choice(answer) == await alone(start, tokens, n, seed=n)
        assert engine.n_requests == 0

    async def test_those_who_ask_at_once_begin_in_one_step(self, start: Start) -> None:
        backend = FakeBackend(n_slots=3)
        # It waits no longer than until every slot has somebody.
        engine = start(backend, policy=SchedulingPolicy(burst_seconds=60.0))
        runs = [engine.submit([prompt(FIRST)])]
        while not engine.n_waiting:  # noqa: ASYNC110 - taking a request gives no sign but this one
            await asyncio.sleep(0)
        runs += [engine.submit([prompt(tokens)]) for tokens in (SECOND, THIRD)]
        assert await backend.next_decode() == {0, 1, 2}
        await asyncio.gather(*map(read, runs))

    async def test_a_choice_draws_the_same_whatever_n_is(self, start: Start) -> None:
        many = await alone(start, FIRST, 5)
        assert (await alone(start, FIRST, 1))[0] == many[0]
        assert (await alone(start, FIRST, 2))[1] == many[1]

    async def test_the_end_token_ends_a_choice(self, start: Start) -> None:
        engine = start(FakeBackend(endless=False))
        deltas = await read(engine.submit([prompt(FIRST, max_tokens=200)]))
        assert deltas[-1].finish_reason == "stop"
        assert deltas[-1].text == ""
        assert [score.token for score in deltas[-1].scores] == [END]
        assert END not in [score.token for delta in deltas[:-1] for score in delta.scores]

    async def test_a_run_over_several_prompts_ends_with_its_last_choice(self, start: Start) -> None:
        engine = start(FakeBackend(n_slots=1))
        owner = object()
        first, second = prompt(FIRST, owner=owner, max_tokens=2), prompt(SECOND, owner=owner, max_tokens=3)
        second.sequences[0].choice = 1
        run = engine.submit([first, second])
        deltas = by_choice(await read(run))
        assert [len(own) for own in deltas.values()] == [2, 3]
        with pytest.raises(StopAsyncIteration):
            await anext(run)

    async def test_a_step_wakes_the_event_loop_once(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loop, wakers = asyncio.get_running_loop(), []
        wake = loop.call_soon_threadsafe

        def counted(*args: object, **options: object) -> asyncio.Handle:
            wakers.append(threading.current_thread().name)
            return wake(*args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
        backend = FakeBackend(n_slots=8)
        engine = start(backend)
        runs = [engine.submit([prompt(FIRST, 4)]), engine.submit([prompt(SECOND, 3)])]
        await asyncio.gather(*map(read, runs))
        assert wakers.count("nucleus-engine") == backend.n_decodes

    @pytest.mark.parametrize(
        ("length", "in_parts", "max_tokens"),
        [
            pytest.param(16, True, 1, id="of a prompt"),
            pytest.param(4, False, 4, id="of a choice that is told at once"),
        ],
    )
    async def test_nobody_is_woken_for_a_step_that_tells_nothing(
        self,
        start: Start,
        monkeypatch: pytest.MonkeyPatch,
        length: int,
        in_parts: bool,
        max_tokens: int,
    ) -> None:
        loop, wakers = asyncio.get_running_loop(), []
        wake = loop.call_soon_threadsafe

        def counted(*args: object, **options: object) -> asyncio.Handle:
            wakers.append(threading.current_thread().name)
            return wake(*args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
        backend = FakeBackend(n_slots=2, n_batch=4)
        engine = start(backend)
        asked = prompt([1] * length, max_tokens=max_tokens)
        asked.in_parts = in_parts
        (*_, last) = await read(engine.submit([asked]))
        assert last.is_last
        assert (backend.n_decodes, wakers.count("nucleus-engine")) == (4, 1)


class TestCancel:
    async def test_queued(self, start: Start) -> None:
        backend = FakeBackend(n_slots=1, gated=True)
        engine = start(backend)
        first = engine.submit([prompt(FIRST, max_tokens=2)])
        await backend.next_decode()
        gone, third = engine.submit([prompt(SECOND)]), engine.submit([prompt(THIRD, max_tokens=2)])
        gone.close()
        backend.open_gate()
        assert len(await read(first)) == 2
        assert by_choice(await read(third)) == await alone(start, THIRD, max_tokens=2)
        assert (backend.n_decodes, engine.n_requests) == (4, 0)
        assert await read(gone) == []

    async def test_in_prefill(self, start: Start) -> None:
        backend = FakeBackend(n_slots=4, n_batch=4, gated=True)
        engine = start(backend)
        gone = engine.submit([prompt([1] * 12, n=3)])
        assert await backend.next_decode() == {0}
        gone.close()
        later = engine.submit([prompt(SECOND, max_tokens=1)])
        backend.open_gate()
        await read(later)
        assert await backend.next_emptied() == 0
        assert (backend.n_decodes, engine.n_requests) == (2, 0)

    async def test_in_decode_beside_a_neighbour(self, start: Start) -> None:
        backend = FakeBackend(n_slots=2, gated=True)
        engine = start(backend)
        gone, other = engine.submit([prompt(FIRST)]), engine.submit([prompt(SECOND)])
        backend.let(2)
        for _ in range(2):
            await backend.next_decode()
        while await backend.next_decode() != {0, 1}:  # both are in decode, and a step is under way
            backend.let(1)
        gone.close()
        backend.let(1)
        assert await backend.next_decode() == {1}
        backend.open_gate()
        assert by_choice(await read(other)) == await alone(start, SECOND)

    async def test_one_of_a_request_s_waves(self, start: Start) -> None:
        backend = FakeBackend(n_slots=2, gated=True)
        engine = start(backend)
        gone = engine.submit([prompt(FIRST, n=5, max_tokens=2)])
        backend.let(2)
        for _ in range(3):  # the third decode belongs to the second wave
            assert await backend.next_decode() <= {0, 1}
        gone.close()
        after = engine.submit([prompt(SECOND)])
        backend.open_gate()
        assert by_choice(await read(after)) == await alone(start, SECOND)
        assert engine.n_requests == 0

    async def test_twice_counts_once_and_ends_the_run(self, start: Start) -> None:
        backend = FakeBackend(n_slots=1, gated=True, prefix_cache=False)
        engine = start(backend, max_requests=1)
        gone = engine.submit([prompt(FIRST)])
        await backend.next_decode()
        gone.close()
        gone.close()
        backend.let(1)
        await backend.next_emptied()
        assert engine.n_requests == 0
        with closing(engine.submit([prompt(SECOND)])), pytest.raises(QueueFullError):
            engine.submit([prompt(THIRD)])
        with pytest.raises(StopAsyncIteration):
            await anext(gone)

    async def test_after_the_end_it_does_nothing(self, start: Start) -> None:
        engine = start(FakeBackend(n_slots=1))
        run = engine.submit([prompt(FIRST)])
        await read(run)
        run.close()
        engine.cancel(run)
        assert len(await read(engine.submit([prompt(SECOND)]))) == 6
        assert engine.n_requests == 0


class TestQueue:
    async def test_it_is_full_at_its_limit_and_takes_again_when_one_ends(self, start: Start) -> None:
        backend = FakeBackend(n_slots=1, gated=True)
        engine = start(backend, max_requests=2)
        first, second = engine.submit([prompt(FIRST, n=3)]), engine.submit([prompt(SECOND)])
        with pytest.raises(QueueFullError, match="2 requests"):
            engine.submit([prompt(THIRD)])
        assert engine.n_requests == 2
        backend.open_gate()
        await read(first)
        third = engine.submit([prompt(THIRD)])
        for run in (second, third):
            await read(run)
        assert engine.n_requests == 0
