"""The engine thread: whoever comes, goes or fails, the others never notice."""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from engine.backend.base import Backend, BackendError
from engine.core.engine import Engine, RequestHandle
from engine.core.loop import StepLoop
from engine.core.phases import Phase
from engine.core.policy import SchedulingPolicy
from engine.core.prefill_budget import PrefillBudget
from engine.core.sequence import Delta, Prompt, Sequence, StopRules
from engine.errors import EngineError, InternalError, QueueFullError, UnavailableError
from engine.sampling import SamplingParams
from tests.core.fake_backend import END, POISON, FakeBackend
from tests.core.steps import SAVES_ALL

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from engine.backend.base import Batch

    Start = Callable[..., Engine]

FIRST, SECOND, THIRD = [1, 2, 3], [9, 8, 7, 6], [5, 5]


def prompt(
    tokens: list[int], n: int = 1, *, max_tokens: int = 6, seed: int = 1, owner: Hashable | None = None
) -> Prompt:
    """Make a prompt of one request whose choices draw with ``seed`` and report logprobs."""
    made = Prompt(object() if owner is None else owner, tokens, len(tokens))
    params = SamplingParams(seed=seed, logprobs=3)
    for choice in range(n):
        stop = StopRules(frozenset({END}))
        made.sequences.append(
            Sequence(made, choice, params, max_tokens=max_tokens, stop=stop, rng_stream=choice)
        )
    return made


async def read(run: RequestHandle) -> list[Delta]:
    return [delta async for delta in run]


def by_choice(deltas: list[Delta]) -> dict[int, list[Delta]]:
    """Deltas of each choice, in the order they came; equal only where every number is."""
    return {choice: [d for d in deltas if d.choice == choice] for choice in {d.choice for d in deltas}}


DEFAULT = SchedulingPolicy()


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts an engine; all are closed in the end, with open gates."""
    started: list[tuple[Engine, FakeBackend]] = []

    def start(backend: FakeBackend, *, max_requests: int = 8, policy: SchedulingPolicy = DEFAULT) -> Engine:
        protocol: Backend = backend  # the type checker holds the fake to the protocol
        engine = Engine(protocol, max_logprobs=5, max_requests=max_requests, policy=policy)
        started.append((engine, backend))
        return engine

    yield start
    for engine, backend in started:
        backend.open_gate()
        engine.close()


async def alone(start: Start, *args: object, **options: object) -> dict[int, list[Delta]]:
    """Return what a prompt gives on an engine of its own."""
    engine = start(FakeBackend(n_slots=8))
    return by_choice(await read(engine.submit([prompt(*args, **options)])))  # type: ignore[arg-type]


async def begin_closing(engine: Engine) -> asyncio.Future[None]:
    """Close from another thread, as that waits for the step under way; return when nothing more is taken."""
    closer = asyncio.ensure_future(asyncio.to_thread(engine.close))
    while engine.is_alive:  # noqa: ASYNC110 - closing gives no sign but this one
        await asyncio.sleep(0)
    return closer


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
        backend.faults[2] = ZeroDivisionError("a bug")
        engine = start(backend)
        runs = [engine.submit([prompt(FIRST, n=2)]), engine.submit([prompt(SECOND)])]
        readers = [asyncio.ensure_future(read(run)) for run in runs]
        await backend.next_decode()
        assert engine.is_alive
        backend.open_gate()
        for reader in readers:
            with pytest.raises(InternalError, match="ZeroDivisionError: a bug"):
                await reader
        assert not engine.is_alive
        with pytest.raises(EngineError, match="a bug"):
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
        backend.let(1)
        assert {await backend.next_emptied(), await backend.next_emptied()} == {0, 1}
        backend.open_gate()
        assert by_choice(await read(other)) == await alone(start, SECOND)
        assert engine.n_requests == 0


class TestSteps:
    """The same loop without its thread, one step at a time."""

    def drain(self, steps: StepLoop, n_steps: int = 100) -> list[Delta]:
        deltas: list[Delta] = []
        for _ in range(n_steps):
            if not steps.scheduler.has_work:
                return deltas
            deltas += [output.delta for output in steps.step()]
        raise AssertionError("still at work")

    def test_choices_that_prefill_beside_a_fork_draw_once(self) -> None:
        backend = FakeBackend(n_slots=3)
        steps = StepLoop(backend, max_logprobs=5)
        steps.submit(prompt(FIRST, max_tokens=2))
        steps.submit(shared := prompt(SECOND, n=5, max_tokens=2))
        self.drain(steps)
        assert [len(sequence.generated) for sequence in shared.sequences] == [2] * 5

    def test_after_a_failed_decode_nothing_is_built_on_what_was_lost(self) -> None:
        """The second wave of the request that failed, before anybody has cancelled it."""
        backend = FakeBackend(n_slots=1)
        backend.faults[2] = BackendError("no luck")
        steps = StepLoop(backend, max_logprobs=5)
        steps.submit(shared := prompt(FIRST, n=2, max_tokens=3))
        deltas = self.drain(steps)
        assert [delta.choice for delta in deltas if delta.error is not None] == [0]
        fresh = StepLoop(FakeBackend(n_slots=2), max_logprobs=5)
        fresh.submit(reference := prompt(FIRST, n=2, max_tokens=3))
        self.drain(fresh)
        assert shared.sequences[1].generated == reference.sequences[1].generated

    @pytest.mark.parametrize("fault", ["cut", "saved"])
    def test_after_a_text_that_could_not_be_moved_nothing_is_built_on_the_cache(self, fault: str) -> None:
        backend = FakeBackend(n_slots=2)
        steps = StepLoop(backend, max_logprobs=5, policy=SAVES_ALL)
        steps.submit(prompt(FIRST, max_tokens=1))
        steps.submit(unlucky := prompt(SECOND, max_tokens=5))
        steps.step()
        (backend.cut_faults if fault == "cut" else backend.save_faults).append(BackendError("no luck"))
        deltas = self.drain(steps)
        assert [delta.error is not None for delta in deltas if delta.is_last] == [True]
        assert unlucky.sequences[0].phase is Phase.FINISHED
        later = [prompt(tokens, max_tokens=3) for tokens in (THIRD, FIRST)]
        for each in later:
            steps.submit(each)
        self.drain(steps)
        assert [len(each.sequences[0].generated) for each in later] == [3, 3]
        assert [each.n_cached for each in later] == [0, 0]

    def test_a_text_that_comes_again_is_restored(self) -> None:
        steps = StepLoop(FakeBackend(n_slots=2), max_logprobs=5, policy=SAVES_ALL)
        answers = []
        for cached in (0, 4):
            steps.submit(again := prompt([*SECOND, 3], max_tokens=5))
            self.drain(steps)
            assert again.n_cached == cached
            answers.append(again.sequences[0].generated)
        assert answers[0] == answers[1]

    def test_a_prompt_beside_a_running_stream_keeps_to_the_pace(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(PrefillBudget, "prompt_tokens", lambda *_: 5)
        backend = FakeBackend(n_slots=2)
        sizes: list[int] = []
        decode = backend.decode

        def watched(batch: Batch) -> NDArray[np.float32]:
            sizes.append(batch.size)
            return decode(batch)

        monkeypatch.setattr(backend, "decode", watched)
        steps = StepLoop(backend, max_logprobs=5)
        steps.submit(prompt([1] * 10, max_tokens=4))
        steps.step()
        steps.submit(prompt([2] * 10, max_tokens=1))
        self.drain(steps)
        assert sizes == [10, 1 + 5, 1 + 5, 1]

    def test_a_preempted_choice_goes_on_as_if_nothing_had_been(self) -> None:
        """The same tokens, log-probabilities and penalties as with room for everybody."""
        answers = []
        for n_cells in (40, 256):
            steps = StepLoop(
                FakeBackend(n_slots=4, n_cells=n_cells), max_logprobs=5, policy=SchedulingPolicy(headroom=1)
            )
            prompts = [prompt(tokens, n=2, max_tokens=20) for tokens in (FIRST, SECOND)]
            for each in prompts:
                for sequence in each.sequences:
                    sequence.params = SamplingParams(
                        seed=7, logprobs=2, frequency_penalty=1.5, repetition_penalty=1.3
                    )
                steps.submit(each)
            self.drain(steps, 400)
            sequences = [sequence for each in prompts for sequence in each.sequences]
            assert any(sequence.n_preempted for sequence in sequences) == (n_cells == 40)
            answers.append([sequence.generated for sequence in sequences])
        assert answers[0] == answers[1]

    def test_a_failed_sequence_leaves_no_cell(self) -> None:
        backend = FakeBackend(n_slots=2)
        steps = StepLoop(backend, max_logprobs=5)
        steps.submit(bad := prompt([POISON, 1, 2], n=3, max_tokens=12))
        deltas = self.drain(steps)
        assert sorted(delta.choice for delta in deltas if delta.error is not None) == [0, 1, 2]
        assert all(sequence.phase is Phase.FINISHED for sequence in bad.sequences)
        assert [backend.used_cells(slot) for slot in range(2)] == [0, 0]
