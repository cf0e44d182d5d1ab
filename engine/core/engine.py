"""The engine thread: it owns the model's context, and everybody else talks to it through one queue.

::

    any thread ── submit, cancel, close ──▶ commands ──▶ engine thread: step, step, step …
    event loop ◀───────── one wake-up per step, with all of the step's deltas ──────┘
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import threading
import time
from collections import defaultdict
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.core.answers import Output
from engine.core.delta import Delta
from engine.core.handle import RequestHandle
from engine.core.loop import StepLoop
from engine.core.overview import Overview, overview
from engine.core.policy import DEFAULT_POLICY, SchedulingPolicy
from engine.errors import EngineError, InternalError, QueueFullError, UnavailableError
from engine.process_bound import ProcessBound

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Hashable

    from engine.backend.base import Backend
    from engine.core.prefix_files import PrefixFiles
    from engine.core.sequence import Prompt
    from engine.core.step_cost import StepCost
    from engine.core.step_totals import StepTotals

log = logging.getLogger("nucleus.engine")

_CLOSED = "The model is closed."
_FORKED = (
    "This model was loaded before the process forked, and the child has none of its threads. Load the model "
    "in the child, or start the child with multiprocessing's 'spawn'."
)
_running: set[Engine] = set()
"""The engines whose threads run; a fork has a copy of them, and no threads."""


@dataclass(slots=True)
class Totals:
    """What all requests that have ended had together; tokens generated, also of those that have not."""

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


class Engine(ProcessBound):
    """A backend and the thread that drives it.

    Args:
        backend: The model; the engine owns it from now on, and closes it.
        max_logprobs: Most alternatives that a request may ask for.
        max_requests: Unfinished requests beyond which new ones are refused.
        threads: How many threads share the rows of a step while they are sampled.
        cost: What steps cost; by default all tokens cost the same until steps show otherwise.
        policy: The numbers that the scheduler and the cache decide by.
        speculates: Whether tokens are guessed where that makes them cheaper.
        files: Where saved prefixes outlive the process; by default nowhere.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        max_logprobs: int,
        max_requests: int,
        threads: int = 1,
        cost: StepCost | None = None,
        policy: SchedulingPolicy = DEFAULT_POLICY,
        speculates: bool = True,
        files: PrefixFiles | None = None,
    ) -> None:
        self.backend = backend
        self._policy = policy
        self.max_requests = max_requests
        self.totals = Totals()  # written by the engine thread, read by any
        self._steps = StepLoop(
            backend,
            max_logprobs=max_logprobs,
            threads=threads,
            cost=cost,
            policy=policy,
            speculates=speculates,
            files=files,
        )
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.RLock()  # guards _requests and _refusal, which any thread may read
        self._requests: dict[Hashable, tuple[RequestHandle, int]] = {}  # with their open choices
        self._refusal: UnavailableError | None = None  # why no request is taken any more
        self._progress_at = 0.0  # when the last step ended, or work came to an idle engine
        self._is_silent = False  # in a forked child, and when the interpreter exits: no delta will come
        self.is_exiting = False  # the interpreter is about to stop daemon threads, wherever they are
        self._thread = threading.Thread(target=self._work, name="nucleus-engine", daemon=True)
        _running.add(self)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """True while requests are being served."""
        return self._thread.is_alive() and self._refusal is None

    @property
    def step_totals(self) -> StepTotals:
        """What all steps had together; written by the engine thread, read by any."""
        return self._steps.totals

    @property
    def prefix_bytes(self) -> int:
        """Bytes of the prefixes on disk."""
        return self._steps.prefix_bytes

    @property
    def cost(self) -> StepCost:
        """What steps cost, as far as it is known by now."""
        return self._steps.cost

    @property
    def n_requests(self) -> int:
        """Requests that were taken and have not ended."""
        return len(self._requests)

    @property
    def n_running(self) -> int:
        """Choices that have a slot."""
        return self._steps.scheduler.n_running

    @property
    def n_waiting(self) -> int:
        """Choices that wait for a slot."""
        return self._steps.scheduler.n_waiting

    @property
    def stalled_seconds(self) -> float:
        """Seconds since the last step ended, or since work came to an idle engine; 0 while nobody waits."""
        return time.monotonic() - self._progress_at if self._requests else 0.0

    @property
    def free_cells(self) -> int:
        """Tokens for which the KV cache has room."""
        return self._steps.scheduler.free_cells

    def submit(self, prompts: list[Prompt]) -> RequestHandle:
        """Queue a request; called inside the event loop that will read its deltas.

        Raises:
            QueueFullError: ``max_requests`` are unfinished already.
            UnavailableError: the engine is closed, or its thread has died.
        """
        handle = RequestHandle(prompts, cancel=self.cancel, check_speaks=self.check_speaks)
        with self._lock:
            self.check_open()
            if len(self._requests) >= self.max_requests:
                raise QueueFullError(f"{len(self._requests)} requests wait or run already, the limit.")
            self._progress_at = self._progress_at if self._requests else time.monotonic()
            self._requests[handle.owner] = (handle, handle.n_choices)
            self._commands.put(lambda: self._begin(handle))
        return handle

    def cancel(self, handle: RequestHandle) -> None:
        """Stop working for a request within one step; nothing happens when it has ended."""
        if not self._is_silent:
            self._commands.put(lambda: self._drop(handle.owner))

    def overview(self) -> Future[Overview]:
        """Ask who has which slot; the engine thread answers between two steps.

        Raises:
            UnavailableError: the engine is closed, or its thread has died. If that happens before the answer,
                there is none.
        """
        asked: Future[Overview] = Future()
        self.check_open()
        self._commands.put(lambda: self._look(asked))
        return asked

    def check_open(self) -> None:
        """Return if requests are taken.

        Raises:
            UnavailableError: the engine is closed, its thread has died, or this process is a fork of its own.
        """
        if self._refusal is not None:
            raise _again(self._refusal)

    def check_speaks(self) -> None:
        """Return if an open request will have another delta.

        Raises:
            UnavailableError: this process was forked from the engine's, or is about to exit.
        """
        if self._is_silent:
            self.check_open()

    def stop(self) -> None:
        """Close, but wait for nothing; also from a finalizer, which runs in any thread and at any moment."""
        if not self._is_silent:
            self._commands.put(lambda: self._refuse(UnavailableError(_CLOSED)))

    def close(self) -> None:
        """End every request with :class:`UnavailableError`, stop the thread and free the model.

        Any number of threads may close an engine, at once or again; in a forked child nothing happens.
        """
        self._refuse(UnavailableError(_CLOSED))
        self.stop()
        self._thread.join()

    def close_silently(self) -> None:
        """Stop the thread and free the model, and wake nobody: the interpreter is about to exit."""
        self.is_exiting = self._is_silent = True
        self._refuse(UnavailableError(_CLOSED))
        self._commands.put(lambda: None)
        self._thread.join()

    def abandon(self) -> None:
        """Refuse everything from now on, in a forked child: the engine belongs to its parent."""
        self._lock = threading.RLock()  # a thread that the child does not have may hold the other one
        self._is_silent = True
        self._refusal = UnavailableError(_FORKED)

    # --- engine thread -----------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while self._refusal is None:
                self._take_commands()
                if self._steps.has_work:
                    self._steps.step(self._deliver)
                    self._progress_at = time.monotonic()
            self._end_all(self._refusal)
        except BaseException as error:  # whatever it was: nobody may wait for a thread that is gone
            failure = InternalError.of(error, "The engine has failed")
            self._refuse(UnavailableError(failure.message))
            self._end_all(failure)
            log.critical("the engine thread died", exc_info=error)
        self._close_backend()

    def _close_backend(self) -> None:
        try:
            self.backend.close()
            self._steps.close()
        except Exception:
            log.exception("the model could not be closed")
        finally:
            _running.discard(self)

    def _take_commands(self) -> None:
        """Carry out what has been asked for since the last step; wait for something when idle."""
        if not self._steps.has_work:
            self._commands.get()()
            if self._steps.has_work:
                self._take_burst()
        while not self._commands.empty():
            self._commands.get()()

    def _take_burst(self) -> None:
        """Wait a moment for requests that arrive together, so that they share all of their steps.

        A step takes many times as long as the wait; a request that came too late would sit it out.
        """
        with suppress(queue.Empty):
            for _ in range(self.backend.n_slots - 1):
                self._commands.get(timeout=self._policy.burst_seconds)()

    def _begin(self, handle: RequestHandle) -> None:
        try:
            for prompt in handle.prompts:
                self._steps.submit(prompt)
        except Exception as error:
            log.exception("a request could not be queued")
            self._deliver([_failure(handle.owner, InternalError.of(error))])
            self._drop(handle.owner)

    def _look(self, asked: Future[Overview]) -> None:
        if asked.set_running_or_notify_cancel():
            try:
                asked.set_result(overview(self._steps.scheduler))
            except Exception as error:
                asked.set_exception(error)

    def _drop(self, owner: Hashable) -> None:
        if owner in self._requests:
            self._steps.cancel(owner)
            self._forget(owner)

    def _forget(self, owner: Hashable) -> None:
        with self._lock:
            handle, _ = self._requests.pop(owner)
        handle.ended_at = time.monotonic()
        self.totals.requests += 1
        self.totals.prompt_tokens += sum(len(prompt.tokens) for prompt in handle.prompts)
        self.totals.cached_tokens += sum(prompt.n_cached for prompt in handle.prompts)

    def _deliver(self, outputs: list[Output]) -> None:
        """Hand over a step's deltas, and drop the requests that nobody is left to read."""
        if outputs and not self._is_silent:
            for handle in self._send(outputs):
                self._drop(handle.owner)

    def _send(self, outputs: list[Output]) -> list[RequestHandle]:
        """Hand deltas to their event loops, with one wake-up for each; return those whose loop is closed."""
        batches: defaultdict[asyncio.AbstractEventLoop, list[tuple[RequestHandle, Delta]]] = defaultdict(list)
        for owner, delta in outputs:
            handle, n_open = self._requests[owner]
            batches[handle.loop].append((handle, delta))
            self.totals.completion_tokens += delta.n_tokens
            self._requests[owner] = (handle, n_open - delta.is_last)
        for owner in {output.owner for output in outputs if self._requests[output.owner][1] == 0}:
            self._forget(owner)
        closed: list[RequestHandle] = []
        for loop, batch in batches.items():
            try:
                loop.call_soon_threadsafe(_dispatch, batch)
            except RuntimeError:
                closed += [handle for handle, _ in batch]
        return closed

    def _refuse(self, error: UnavailableError) -> None:
        with self._lock:
            self._refusal = self._refusal or error

    def _end_all(self, reason: EngineError) -> None:
        """End every open request, also one that never began; after a failure only this table is trusted."""
        self._requests |= {owner: (handle, 1) for owner, (handle, _) in self._requests.items()}
        if not self._is_silent:
            self._send([_failure(owner, _again(reason)) for owner in self._requests])


def _failure(owner: Hashable, error: EngineError) -> Output:
    return Output(owner, Delta(0, "", (), 0, 0.0, error=error))


def _again(error: EngineError) -> EngineError:
    """Return a new error with the same message: one that is raised again and again collects tracebacks."""
    return type(error)(error.message)


def _dispatch(batch: list[tuple[RequestHandle, Delta]]) -> None:
    for handle, delta in batch:
        handle.deliver(delta)


def _close_running() -> None:
    """Let no engine decode while the interpreter, and then the C library, clear up under it."""
    for engine in tuple(_running):
        engine.close_silently()


def _abandon_running() -> None:
    for engine in _running:
        engine.abandon()
    _running.clear()


atexit.register(_close_running)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_running)
