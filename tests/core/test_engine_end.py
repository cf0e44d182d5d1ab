"""How an engine closes, and what a failure leaves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from engine.backend.base import BackendError
from engine.errors import InternalError, UnavailableError
from tests.core.fake_backend import POISON, FakeBackend
from tests.core.runs import FIRST, SECOND, THIRD, alone, begin_closing, by_choice, prompt, read

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.core.engine import Engine

    Start = Callable[..., Engine]


pytestmark = pytest.mark.usefixtures("order")


class TestClosing:
    async def test_it_ends_whoever_runs_or_waits(self, start: Start) -> None:
        backend = FakeBackend(n_slots=1, gated=True)
        engine = start(backend)
        runs = [engine.submit([prompt(FIRST, n=2)]), engine.submit([prompt(SECOND)])]
        readers = [asyncio.ensure_future(read(run)) for run in runs]
        await backend.next_decode()
        closer = await begin_closing(engine)
        backend.open_gate()
        await closer
        for reader in readers:
            with pytest.raises(UnavailableError, match="closed"):
                await reader
        assert backend.closed
        assert not engine.is_alive
        with pytest.raises(UnavailableError):
            engine.submit([prompt(THIRD)])
        assert engine.n_requests == 0

    async def test_an_idle_engine_closes_and_closes_again(self, start: Start) -> None:
        backend = FakeBackend()
        engine = start(backend)
        assert engine.is_alive
        engine.close()
        engine.close()
        assert backend.closed
        assert not engine.is_alive

    async def test_a_run_submitted_just_before_is_told(self, start: Start) -> None:
        """The command that begins it may never be reached in the ordinary way."""
        backend = FakeBackend(n_slots=1, gated=True)
        engine = start(backend)
        engine.submit([prompt(FIRST)])
        await backend.next_decode()
        late = engine.submit([prompt(SECOND)])
        closer = await begin_closing(engine)
        backend.open_gate()
        await closer
        with pytest.raises(UnavailableError):
            await read(late)


class TestFailing:
    async def test_a_failed_decode_ends_who_runs_and_nobody_else(self, start: Start) -> None:
        backend = FakeBackend(n_slots=2, gated=True)
        backend.faults[2] = BackendError("no luck")
        engine = start(backend)
        running = engine.submit([prompt(FIRST, n=2)])
        await backend.next_decode()
        waiting = engine.submit([prompt(SECOND)])
        backend.open_gate()
        with pytest.raises(InternalError, match="no luck"):
            await read(running)
        running.close()
        assert by_choice(await read(waiting)) == await alone(start, SECOND)
        assert engine.is_alive
        assert engine.n_requests == 0

    async def test_a_row_that_is_not_a_number_fails_alone(self, start: Start) -> None:
        backend = FakeBackend(n_slots=4)
        engine = start(backend)
        before, bad, after = (
            engine.submit([prompt(tokens, max_tokens=12)]) for tokens in (FIRST, [POISON, 1, 2], SECOND)
        )
        told = [await anext(bad) for _ in range(3)]
        assert [delta.is_last for delta in told] == [False] * 3
        with pytest.raises(InternalError, match="NaN"):
            await anext(bad)
        for run, tokens in ((before, FIRST), (after, SECOND)):
            assert by_choice(await read(run)) == await alone(start, tokens, max_tokens=12)
        assert engine.is_alive

    async def test_a_dead_thread_tells_everybody_and_takes_nobody(self, start: Start) -> None:
        backend = FakeBackend(n_slots=1, gated=True)
        backend.faults[2] = KeyboardInterrupt("a secret")
        engine = start(backend)
        runs = [engine.submit([prompt(FIRST, n=2)]), engine.submit([prompt(SECOND)])]
        readers = [asyncio.ensure_future(read(run)) for run in runs]
        await backend.next_decode()
        assert engine.is_alive
        backend.open_gate()
        for reader in readers:
            with pytest.raises(InternalError, match="KeyboardInterrupt") as told:
                await reader
            assert "secret" not in told.value.message
        assert not engine.is_alive
        with pytest.raises(UnavailableError, match="KeyboardInterrupt"):
            engine.submit([prompt(THIRD)])
        engine.close()
        assert backend.closed
        assert engine.n_requests == 0

    async def test_being_refused_again_and_again_keeps_nothing(self, start: Start) -> None:
        """An exception raised twice keeps the frames of both, with all that they hold."""
        engine = start(FakeBackend())
        engine.close()
        depths = []
        for _ in range(3):
            with pytest.raises(UnavailableError) as caught:
                engine.submit([prompt(FIRST)])
            depths.append(len(caught.traceback))
        assert depths[0] == depths[1] == depths[2]

    async def test_a_closed_event_loop_hurts_nobody_else(self, start: Start) -> None:
        backend = FakeBackend(n_slots=2, gated=True, prefix_cache=False)
        engine = start(backend)

        async def submit_and_leave() -> None:
            engine.submit([prompt(FIRST, n=2, max_tokens=100)])

        await asyncio.to_thread(asyncio.run, submit_and_leave())
        await backend.next_decode()
        other = engine.submit([prompt(SECOND)])
        backend.let(1 + backend.is_asynchronous)  # then the loop is seen while the next step runs
        assert {await backend.next_emptied(), await backend.next_emptied()} == {0, 1}
        backend.open_gate()
        assert by_choice(await read(other)) == await alone(start, SECOND)
        assert engine.n_requests == 0
