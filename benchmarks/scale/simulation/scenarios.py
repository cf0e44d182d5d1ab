"""What is run: how many workers, how much load, which router, what goes wrong; and the figures of a run."""

from __future__ import annotations

import functools
import statistics
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.scale.simulation.costs import MACHINES
from benchmarks.scale.simulation.fleet import Death, Faults, Fleet
from benchmarks.scale.simulation.routers import (
    ConsistentHashing,
    LeastRequests,
    PowerOfTwo,
    PrefixHash,
    Random,
    RoundRobin,
    Router,
)
from benchmarks.scale.simulation.trace import Request, Shape, Trace
from benchmarks.scale.simulation.tree_routers import CacheAware, RayPrefix, RayPrefixBalanced

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from benchmarks.scale.simulation.costs import Machine
    from benchmarks.scale.simulation.fleet import Outcome

BOUND = "one cache for all"
ROUTERS: dict[str, type[Router]] = {
    "random": Random,
    "round robin": RoundRobin,
    "power of two": PowerOfTwo,
    "least requests": LeastRequests,
    "consistent hashing": ConsistentHashing,
    "prefix hash": PrefixHash,
    "SMG cache_aware": CacheAware,
    "Ray prefix-aware": RayPrefix,
    "Ray prefix-aware, limit 5": RayPrefixBalanced,
    BOUND: LeastRequests,
}
"""Label -> policy; the last is a bound, which finds whatever any worker ever computed."""
_SOME = ("least requests", "consistent hashing", "SMG cache_aware", "Ray prefix-aware", BOUND)
"""Those that are run with other caches and on other machines, too."""
SIZES_END = 350.0
"""When the runs end that compare fleets of all sizes: they are shorter, for the largest one's sake."""
_SLOWNESS = 3.0
_BACKLOG = 600
"""Requests of the backlog that is worked off to measure what one worker can do."""
_HURRY_OF_GPU = 30.0
"""On the GPU turns follow each other as those of programs, not of people."""


@dataclass(frozen=True)
class Scenario:
    """One run.

    Attributes:
        router: A key of :data:`ROUTERS`.
        workers: How many there are.
        load: Requests that come, over what the workers could answer with one cache for all.
        seed: Of conversations and choices.
        machine: A key of :data:`MACHINES`.
        cache: Tokens of each worker's cache; None: as the machine has it.
        fault: ``none``, ``death``: a worker dies and is back half a minute later; ``slow``: one takes three
            times as long for everything.
        begins: Seconds before requests count; caches fill.
        ends: Seconds for which requests come.
    """

    router: str
    workers: int
    load: float = 0.7
    seed: int = 1
    machine: str = "cpu"
    cache: int | None = None
    fault: str = "none"
    begins: float = 200.0
    ends: float = 600.0

    @property
    def point(self) -> Scenario:
        """What runs with other seeds have in common."""
        return replace(self, seed=0)


@dataclass(frozen=True)
class Figures:
    """What is told of a run; times are seconds.

    Attributes:
        hit_rate: The part of the prompts' tokens that came from a cache.
        best_hit_rate: The part that one cache for all would have had.
        ttft_p50: Until the first token, for one request of two.
        ttft_p99: The same for 99 of 100.
        latency_p99: Until the last token.
        busy: The part of the time in which workers took steps.
        busy_imbalance: That of the busiest worker over the mean.
        queue_imbalance: Requests of the worker that had most, waiting or running, over the mean.
        entries: What the router remembers in the end: nodes of trees, places of rings.
        n_bytes: The least that takes.
        retries: Requests that were sent again, since their worker died.
        requests: How many counted.
    """

    hit_rate: float
    best_hit_rate: float
    ttft_p50: float
    ttft_p99: float
    latency_p99: float
    busy: float
    busy_imbalance: float
    queue_imbalance: float
    entries: float
    n_bytes: float
    retries: float
    requests: float


def run(scenario: Scenario) -> Figures:
    """Run a scenario; the same one has the same figures."""
    machine, shape = _machine(scenario), shape_for(scenario.machine)
    rate = scenario.load * scenario.workers * capacity(scenario.machine)
    trace = Trace(shape, rate=rate, seconds=scenario.ends, seed=scenario.seed)
    fleet = Fleet(
        machine,
        scenario.workers,
        make_router(scenario.router, scenario.workers, scenario.seed, shape.n_common),
        trace,
        n_common=shape.n_common,
        faults=_faults(scenario),
        knows_all=scenario.router == BOUND,
    )
    return figures(fleet.run(begins=scenario.begins, ends=scenario.ends))


def figures(outcome: Outcome) -> Figures:
    """Return what is told of an outcome."""
    counted = [request for request in outcome.requests if outcome.begins <= request.arrival < outcome.ends]
    n_prompt = sum(request.first_prompt for request in counted)
    first_tokens = [request.first_token - request.arrival for request in counted]
    latencies = [request.done - request.arrival for request in counted]
    return Figures(
        hit_rate=sum(request.cached for request in counted) / n_prompt,
        best_hit_rate=sum(request.known for request in counted) / n_prompt,
        ttft_p50=float(np.percentile(first_tokens, 50)),
        ttft_p99=float(np.percentile(first_tokens, 99)),
        latency_p99=float(np.percentile(latencies, 99)),
        busy=statistics.fmean(outcome.busy),
        busy_imbalance=max(outcome.busy) / statistics.fmean(outcome.busy),
        queue_imbalance=max(outcome.unanswered) / statistics.fmean(outcome.unanswered),
        entries=outcome.state.entries,
        n_bytes=outcome.state.n_bytes,
        retries=sum(request.n_retries for request in counted),
        requests=len(counted),
    )


def shape_for(machine: str) -> Shape:
    """Return the shape of the requests for a kind of worker."""
    return Shape(hurry=_HURRY_OF_GPU if machine == "gpu" else 1.0)


@functools.cache
def capacity(machine: str) -> float:
    """Return the requests each second of one worker that never waits for work, with one cache for all."""
    shape = shape_for(machine)
    drawn = Trace(shape, rate=1.0, seconds=10 * _BACKLOG, seed=0)
    backlog = Backlog(_at_once(drawn))
    fleet = Fleet(
        MACHINES[machine](), 1, LeastRequests(1, 0), backlog, n_common=shape.n_common, knows_all=True
    )
    answered = fleet.run(begins=0.0, ends=float("inf")).requests
    return len(answered) / max(request.done for request in answered)


class Backlog:
    """Requests that are there from the beginning, in the place of a trace."""

    def __init__(self, requests: Iterable[Request]) -> None:
        self._requests = list(requests)[::-1]

    def __bool__(self) -> bool:
        return bool(self._requests)

    @property
    def next_arrival(self) -> float:
        """When the next request comes."""
        return self._requests[-1].arrival

    def pop(self) -> Request:
        """Remove and return the next request."""
        return self._requests.pop()

    def answered(self, request: Request) -> None:
        """Nothing follows."""


def _at_once(trace: Trace) -> Iterator[Request]:
    """Yield requests of a trace as they come once it has run for a while, each as one that comes at 0."""
    for number in range(5 * _BACKLOG):
        request = trace.pop()
        request.done = request.arrival
        trace.answered(request)
        if number >= 4 * _BACKLOG:
            yield Request(number, request.prompt, request.output, 0.0, known=request.known)


def _machine(scenario: Scenario) -> Machine:
    make = MACHINES[scenario.machine]
    return make() if scenario.cache is None else make(cache=scenario.cache)


def make_router(label: str, n_workers: int, seed: int, n_common: int) -> Router:
    """Return a router by its label."""
    return ROUTERS[label](n_workers, seed, n_common)


def _faults(scenario: Scenario) -> Faults:
    if scenario.fault == "death":
        return Faults(deaths=[Death(worker=0, at=(scenario.begins + scenario.ends) / 2)])
    return Faults(slow={0: _SLOWNESS} if scenario.fault == "slow" else {})


def quick() -> Iterator[Scenario]:
    """Yield what takes some seconds."""
    for router in ROUTERS:
        yield Scenario(router, 10, begins=100.0, ends=300.0)


def full() -> Iterator[Scenario]:
    """Yield everything, what takes longest first."""
    for router in ROUTERS:
        for workers, seeds in ((1_000, 1), (100, 1), (10, 3)):
            for seed in range(1, seeds + 1):
                yield Scenario(router, workers, seed=seed, begins=150.0, ends=SIZES_END)
    for router in ROUTERS:
        yield from (Scenario(router, 100, load) for load in (0.5, 0.7, 0.9))
    for router in _SOME:
        yield from (Scenario(router, 100, cache=cache) for cache in (16_384, 262_144))
        yield Scenario(router, 10, machine="gpu", begins=20.0, ends=50.0)
    for router in ROUTERS:
        for seed in (1, 2, 3):
            yield from (Scenario(router, 10, seed=seed, fault=fault) for fault in ("none", "death", "slow"))
