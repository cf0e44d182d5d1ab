"""Runs a fleet: arrivals, steps, deaths, in the order of time.

The events are in a heap of this module, not in SimPy's: there an arrival that cuts steps short would raise an
exception in the worker's process, and a heap with a number for each event is shorter than that.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.scale.simulation.routers import View
from benchmarks.scale.simulation.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from benchmarks.scale.simulation.costs import Machine
    from benchmarks.scale.simulation.routers import Router, State
    from benchmarks.scale.simulation.trace import Request, Requests

_POLL = 10.0
"""Seconds after which a gateway asks workers for their load; SMG's default."""
_TIDY = 60.0
"""Seconds after which a router forgets what is too much; SMG's default."""
_MOST_WAITING = 8
"""Waiting requests with which a worker is left out, while another has fewer; SMG's default."""
_MOST_USAGE = 0.8
"""The part of its KV cache in use with which it is left out."""


class Death(NamedTuple):
    """A worker that dies, and comes back with nothing."""

    worker: int
    at: float
    back_after: float = 30.0


@dataclass(frozen=True)
class Faults:
    """What goes wrong.

    Attributes:
        deaths: Workers that die.
        slow: Worker -> how many times as long its steps take.
    """

    deaths: Sequence[Death] = ()
    slow: dict[int, float] = field(default_factory=dict)


@dataclass
class Outcome:
    """What came of a run.

    Attributes:
        requests: All that were answered, in the order of their answers.
        begins: Seconds after which requests count.
        ends: Seconds up to which they do.
        busy: For each worker, the part of that time in which it took steps.
        unanswered: For each worker, the mean number of its requests, waiting or running.
        state: What the router remembered in the end.
    """

    requests: list[Request]
    begins: float
    ends: float
    busy: list[float]
    unanswered: list[float]
    state: State


class Fleet:
    """Workers behind a router.

    Args:
        machine: What each worker runs on.
        n_workers: How many there are.
        router: Who chooses among them.
        trace: The requests.
        n_common: Tokens with which all prompts begin.
        faults: What goes wrong.
        knows_all: Whether each worker finds all of a prompt that was ever computed anywhere.
    """

    def __init__(
        self,
        machine: Machine,
        n_workers: int,
        router: Router,
        trace: Requests,
        *,
        n_common: int,
        faults: Faults | None = None,
        knows_all: bool = False,
    ) -> None:
        faults = faults or Faults()
        self.workers = [
            Worker(machine, n_common, slowness=faults.slow.get(worker, 1.0), knows_all=knows_all)
            for worker in range(n_workers)
        ]
        self._router = router
        self._trace = trace
        everybody = np.arange(n_workers)
        self._view = View(np.zeros(n_workers, dtype=np.int64), everybody, everybody)
        self._holders: dict[int, int] = {}  # the conversations that wait for an answer -> their workers
        self._order = itertools.count()
        self._events: list[_Event] = []
        self._expected = [-1] * n_workers  # the event that ends each worker's steps; others are out of date
        self._done: list[Request] = []
        self._unanswered = _Integral(n_workers)
        self._busy = _Integral(n_workers)
        for death in faults.deaths:
            self._push(death.at, _DIES, death.worker)
            self._push(death.at + death.back_after, _COMES_BACK, death.worker)

    def run(self, *, begins: float, ends: float) -> Outcome:
        """Run until all requests are answered; those that come from ``begins`` to ``ends`` count."""
        self._unanswered.window = self._busy.window = (begins, ends)
        next_poll, next_tidy = _POLL, _TIDY
        while self._trace or self._events:
            arrival = self._trace.next_arrival if self._trace else float("inf")
            event = self._events[0].at if self._events else float("inf")
            now = min(arrival, event)
            if now >= next_poll:
                self._poll()
                next_poll = now - now % _POLL + _POLL
            if now >= next_tidy:
                self._router.tidy()
                next_tidy = now - now % _TIDY + _TIDY
            if arrival <= event:
                self._send(self._trace.pop(), now)
            else:
                self._handle(heapq.heappop(self._events))
        seconds = ends - begins
        return Outcome(
            requests=self._done,
            begins=begins,
            ends=ends,
            busy=[total / seconds for total in self._busy.totals],
            unanswered=[total / seconds for total in self._unanswered.totals],
            state=self._router.state,
        )

    def _handle(self, event: _Event) -> None:
        if event.kind == _DIES:
            self._die(event.worker, event.at)
        elif event.kind == _COMES_BACK:
            self._update_alive(np.union1d(self._view.alive, [event.worker]))
        elif event.order == self._expected[event.worker]:
            self._finish(event.worker, event.at)

    def _send(self, request: Request, now: float) -> None:
        """Let the router choose a worker for a request, and give it to that."""
        chosen = self._router.choose(request, self._view)
        self._holders[request.conversation] = chosen
        self._change_load(chosen, 1, now)
        self._expect(chosen, self.workers[chosen].submit(request, now), now)

    def _finish(self, worker: int, now: float) -> None:
        """End the steps of a worker, and let it begin the next ones."""
        self._expected[worker] = -1
        for request in self.workers[worker].finish(now):
            del self._holders[request.conversation]
            self._change_load(worker, -1, now)
            self._done.append(request)
            self._trace.answered(request)
        ends = self.workers[worker].begin(now)
        self._expect(worker, ends, now)
        if ends is None:
            self._busy.change(worker, -1, now)

    def _expect(self, worker: int, ends: float | None, now: float) -> None:
        """Wait for the end of a worker's steps, if they end at another time than was thought."""
        if ends is not None:
            if self._busy.values[worker] == 0:
                self._busy.change(worker, 1, now)
            self._expected[worker] = self._push(ends, _STEPS_END, worker)

    def _die(self, worker: int, now: float) -> None:
        """Lose a worker; others answer its requests."""
        self._expected[worker] = -1
        lost = self.workers[worker].die(now)
        self._change_load(worker, -len(lost), now)
        self._busy.change(worker, -int(self._busy.values[worker]), now)
        self._router.forget(worker)
        self._update_alive(self._view.alive[self._view.alive != worker])
        for request in lost:
            self._send(request, now)

    def _update_alive(self, alive: NDArray[np.int64]) -> None:
        self._view.alive = alive
        self._poll()

    def _poll(self) -> None:
        """Leave out the workers that report much load, while there are others."""
        view = self._view
        view.eligible = view.alive
        if self._router.sheds:
            overloaded = [self._is_overloaded(self.workers[worker]) for worker in view.alive]
            if not all(overloaded):
                view.eligible = view.alive[~np.array(overloaded)]

    def _is_overloaded(self, worker: Worker) -> bool:
        return len(worker.waiting) >= _MOST_WAITING or worker.usage >= _MOST_USAGE

    def _change_load(self, worker: int, by: int, now: float) -> None:
        self._view.load[worker] += by
        self._unanswered.change(worker, by, now)

    def _push(self, at: float, kind: int, worker: int) -> int:
        order = next(self._order)
        heapq.heappush(self._events, _Event(at, order, kind, worker))
        return order


_STEPS_END, _DIES, _COMES_BACK = range(3)


class _Event(NamedTuple):
    at: float
    order: int
    kind: int
    worker: int


class _Integral:
    """Numbers that change, and their integrals over a window of time."""

    def __init__(self, n_workers: int) -> None:
        self.values = [0] * n_workers
        self.totals = [0.0] * n_workers
        self.window = (0.0, 0.0)
        self._since = [0.0] * n_workers

    def change(self, worker: int, by: int, now: float) -> None:
        """Change a number."""
        begins, ends = self.window
        if self.values[worker]:
            inside = min(now, ends) - max(self._since[worker], begins)
            self.totals[worker] += self.values[worker] * max(inside, 0.0)
        self._since[worker] = now
        self.values[worker] += by
