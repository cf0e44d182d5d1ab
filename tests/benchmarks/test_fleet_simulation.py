"""The simulated fleet: against closed forms, against the engine's own cache, and what must always hold."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.scale.simulation import worker as worker_module
from benchmarks.scale.simulation.cache import ConversationCache
from benchmarks.scale.simulation.costs import MACHINES, Machine, cpu
from benchmarks.scale.simulation.fleet import Death, Faults, Fleet
from benchmarks.scale.simulation.measured import Rounds, prompt_tokens
from benchmarks.scale.simulation.page import PAGE, with_tables
from benchmarks.scale.simulation.report import read
from benchmarks.scale.simulation.routers import ConsistentHashing, LeastRequests, PrefixHash, View
from benchmarks.scale.simulation.scenarios import BOUND, ROUTERS, Backlog, Scenario, make_router, run
from benchmarks.scale.simulation.trace import Request, Shape, Trace
from benchmarks.scale.simulation.tree_routers import CacheAware, PromptTree, RayPrefix, RayPrefixBalanced
from engine.core.policy import DEFAULT_POLICY
from engine.core.step_cost import StepCost
from engine.kvcache.host_cache import HostPrefixCache

if TYPE_CHECKING:
    from collections.abc import Iterable

_SERVICE = 1.0
"""Seconds that a token of a prompt takes in the closed forms."""


# --- closed forms ----------------------------------------------------------------------------------------


def _mean_wait(services: Iterable[int], load: float, seed: int) -> float:
    """Return the mean seconds in the queue of one slot, where prompts come at random."""
    cost = StepCost({1: _SERVICE}, {1: _SERVICE, 512: 512 * _SERVICE}, max_decodes=1, max_tokens=512)
    machine = Machine("one slot", cost, slots=1, cells=1 << 20, host_cache=0)
    tokens = list(services)
    gaps = np.random.default_rng(seed).exponential(statistics.fmean(tokens) / load, len(tokens))
    arrivals = np.cumsum(gaps).tolist()
    requests = [Request(i, n, 1, at) for i, (n, at) in enumerate(zip(tokens, arrivals, strict=True))]
    fleet = Fleet(machine, 1, LeastRequests(1, 0), Backlog(requests), n_common=0)
    done = fleet.run(begins=0.0, ends=math.inf).requests
    return statistics.fmean(each.done - each.arrival - each.prompt * _SERVICE for each in done)


def test_requests_of_one_length_wait_as_in_an_m_d_1_queue() -> None:
    load, service = 0.6, 100
    expected = load * service / (2 * (1 - load))
    assert _mean_wait([service] * 4_000, load, seed=1) == pytest.approx(expected, rel=0.08)


def test_requests_of_exponential_lengths_wait_as_in_an_m_m_1_queue() -> None:
    load = 0.6
    lengths = np.ceil(np.random.default_rng(2).exponential(200.0, 4_000)).astype(int).tolist()
    expected = load * statistics.fmean(lengths) / (1 - load)
    assert _mean_wait(lengths, load, seed=3) == pytest.approx(expected, rel=0.12)


# --- the engine's cache ----------------------------------------------------------------------------------


def _stream(conversation: int, length: int, n_common: int) -> list[int]:
    return [token if token < n_common else 10_000 * (conversation + 1) + token for token in range(length)]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 400), st.booleans()), max_size=40),
    st.integers(0, 800),
    st.sampled_from([0, 24, 40]),
)
def test_conversations_are_kept_as_the_engine_keeps_their_tokens(
    steps: list[tuple[int, int, bool]], capacity: int, n_common: int
) -> None:
    policy = DEFAULT_POLICY
    engine = HostPrefixCache(capacity, min_new_tokens=policy.min_new_tokens, max_cost=policy.max_cost)
    cache = ConversationCache(capacity, n_common)
    for conversation, length, is_added in steps:
        tokens = _stream(conversation, length + n_common, n_common)
        found = engine.match(tokens)
        kept, holder = cache.match(conversation, len(tokens))
        assert kept == found.length
        if is_added:
            engine.add(tokens)
            cache.add(conversation, len(tokens))
        elif found.entry_id is not None and holder is not None:
            engine.touch(found.entry_id)
            cache.touch(holder)
        assert cache.size <= capacity
        assert len(cache) == len(engine)


# --- what must always hold -------------------------------------------------------------------------------


class _Watched(Trace):
    """Counts what is handed out and answered, and looks at the workers each time."""

    fleet: Fleet
    machine: Machine
    sent = 0
    answers = 0

    def pop(self) -> Request:
        self.sent += 1
        return super().pop()

    def answered(self, request: Request) -> None:
        self.answers += 1
        assert request.arrival <= request.first_token <= request.done
        assert request.cached <= request.known
        for worker in self.fleet.workers:
            assert len(worker.running) <= self.machine.slots
            assert worker.used_cells <= self.machine.cells
            assert worker.cache.size <= self.machine.host_cache
        super().answered(request)


@settings(max_examples=8, deadline=None)
@given(
    st.sampled_from(sorted(ROUTERS)),
    st.integers(1, 6),
    st.integers(0, 1_000),
    st.sampled_from([9_000, 30_000]),
    st.lists(st.tuples(st.integers(0, 5), st.floats(0.0, 70.0), st.floats(1.0, 40.0)), max_size=2),
)
def test_every_request_is_answered_once_and_nothing_grows_over_its_size(
    label: str, n_workers: int, seed: int, cells: int, deaths: list[tuple[int, float, float]]
) -> None:
    shape, machine = Shape(), cpu(slots=4, cache=cells)
    # One worker stays, or there is nobody to answer.
    faults = Faults([Death(1 + n % (n_workers - 1), at, back) for n, at, back in deaths[: n_workers - 1]])
    trace = _Watched(shape, rate=0.3 * n_workers, seconds=30.0, seed=seed)
    router = make_router(label, n_workers, seed, shape.n_common)
    fleet = Fleet(
        machine, n_workers, router, trace, n_common=shape.n_common, faults=faults, knows_all=label == BOUND
    )
    trace.fleet, trace.machine = fleet, machine
    outcome = fleet.run(begins=0.0, ends=30.0)
    assert trace.sent == trace.answers == len(outcome.requests)
    assert len({id(request) for request in outcome.requests}) == len(outcome.requests)
    assert all(0.0 <= busy <= 1.0 + 1e-9 for busy in outcome.busy)
    assert all(not worker.running and not worker.waiting for worker in fleet.workers)


def test_a_dead_workers_requests_are_answered_by_others() -> None:
    requests = [Request(each, 2_000, 200, 0.0) for each in range(4)]
    fleet = Fleet(
        cpu(),
        2,
        LeastRequests(2, 0),
        Backlog(requests),
        n_common=0,
        faults=Faults([Death(worker=0, at=10.0, back_after=1e6)]),
    )
    outcome = fleet.run(begins=0.0, ends=100.0)
    assert sorted(request.n_retries for request in outcome.requests) == [0, 0, 1, 1]
    assert all(request.done > 10.0 for request in outcome.requests if request.n_retries)


def test_steps_taken_together_take_what_they_take_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = Scenario("consistent hashing", 2, begins=0.0, ends=150.0)  # it looks at no load
    together = run(scenario)
    monkeypatch.setattr(worker_module, "_MOST_STEPS", 1)
    apart = run(scenario)
    assert apart.hit_rate == pytest.approx(together.hit_rate, abs=0.01)
    assert apart.ttft_p50 == pytest.approx(together.ttft_p50, rel=0.05)
    assert apart.latency_p99 == pytest.approx(together.latency_p99, rel=0.05)


def test_a_slow_worker_takes_so_many_times_as_long() -> None:
    requests = [Request(each, 600, 40, 0.0) for each in range(2)]
    router = make_router("round robin", 2, 0, 0)
    fleet = Fleet(cpu(), 2, router, Backlog(requests), n_common=0, faults=Faults(slow={0: 3.0}))
    quick, slow = sorted(request.done for request in fleet.run(begins=0.0, ends=1.0).requests)
    assert slow == pytest.approx(3 * quick)


# --- requests --------------------------------------------------------------------------------------------


def _all_of(trace: Trace) -> list[Request]:
    requests = []
    while trace:
        requests.append(request := trace.pop())
        request.done = request.arrival
        trace.answered(request)
    return requests


def test_requests_have_the_shape_of_the_trace() -> None:
    shape = Shape()
    requests = _all_of(Trace(shape, rate=2.0, seconds=1_500.0, seed=1))
    sample = shape.data["of_the_sample"]
    assert len(requests) == pytest.approx(3_000, rel=0.1)
    prompt = statistics.fmean(request.prompt for request in requests)
    assert prompt * shape.scale == pytest.approx(sample["input_tokens"], rel=0.15)
    output = statistics.fmean(request.output for request in requests)
    assert output * shape.scale == pytest.approx(sample["output_tokens"], rel=0.1)
    known = sum(request.known for request in requests) / sum(request.prompt for request in requests)
    assert known == pytest.approx(sample["cached_share"], abs=0.05)
    assert all(request.known < request.prompt for request in requests)


def test_a_seed_gives_the_same_conversations_however_fast_they_are_answered() -> None:
    def conversations(seconds: float) -> set[tuple[int, int, int]]:
        trace, found = Trace(Shape(), rate=1.0, seconds=300.0, seed=5), set()
        while trace:
            request = trace.pop()
            found.add((request.conversation, request.prompt, request.output))
            request.done = request.arrival + seconds
            trace.answered(request)
        return found

    assert conversations(1e3) < conversations(0.0)


def test_the_same_scenario_has_the_same_figures() -> None:
    scenario = Scenario("SMG cache_aware", 3, begins=0.0, ends=60.0)
    assert run(scenario) == run(scenario)


# --- routers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", sorted(set(ROUTERS) - {"random", "round robin", "power of two"}))
def test_affinity_computes_little_more_than_one_cache_would(label: str) -> None:
    rounds = Rounds()
    computed = prompt_tokens(label, rounds)
    if label == "least requests":
        assert computed > 1.5 * rounds.fewest_computed
    elif label == BOUND:
        # It finds what is common to all from the first request on, and the last token of each answer.
        assert computed == rounds.conversations * (rounds.first + (rounds.turns - 1) * rounds.said)
    else:
        # The first prompts are shorter than what the hash is of, so the second ones have another.
        most = 1.8 if label == "prefix hash" else 1.1
        assert computed <= most * rounds.fewest_computed


def test_round_robin_computes_what_the_order_of_turns_says() -> None:
    rounds, workers, seed = Rounds(), 4, 3
    rng = np.random.default_rng(seed)
    kept: list[dict[int, int]] = [{} for _ in range(workers)]
    computed = sent = 0
    for turn in range(rounds.turns):
        for conversation in rng.permutation(rounds.conversations)[::-1].tolist():
            sent += 1
            here = kept[sent % workers]
            computed += rounds.prompt(turn) - here.get(conversation, rounds.common if here else 0)
            here[conversation] = rounds.prompt(turn) + rounds.answer - 1
    assert prompt_tokens("round robin", rounds, seed=seed) == computed


def _view(load: list[int], alive: list[int] | None = None) -> View:
    workers = np.arange(len(load)) if alive is None else np.array(alive)
    return View(np.array(load), workers, workers)


def _turn(conversation: int, prompt: int) -> Request:
    return Request(conversation, prompt, 10, 0.0)


def test_cache_aware_follows_a_long_match_until_that_worker_has_too_many_requests() -> None:
    router = CacheAware(3, 0, n_common=50)
    assert router.choose(_turn(1, 400), _view([2, 2, 0])) == 2
    assert router.choose(_turn(1, 500), _view([0, 0, 5])) == 2
    assert router.choose(_turn(1, 600), _view([2, 0, 9])) == 1  # over 1.5 times the mean, and 4 above it
    assert router.choose(_turn(2, 400), _view([0, 1, 1])) == 0  # what is common is less than 0.3 of it
    assert router.choose(_turn(1, 700), _view([0, 0, 0], alive=[0])) == 0


def test_rays_router_follows_a_match_whatever_the_queue() -> None:
    router = RayPrefix(2, 0, n_common=50)
    assert router.choose(_turn(1, 1_000), _view([0, 0])) == 0
    assert router.choose(_turn(1, 1_100), _view([20, 0])) == 0
    assert router.choose(_turn(2, 1_000), _view([0, 0])) == 1  # the one that got the fewest tokens


def test_rays_router_with_a_limit_balances_where_queues_differ_by_more() -> None:
    router = RayPrefixBalanced(2, 0, n_common=50)
    assert router.choose(_turn(1, 1_000), _view([0, 0])) == 0
    assert router.choose(_turn(1, 1_100), _view([5, 0])) == 0
    assert router.choose(_turn(1, 1_200), _view([6, 0])) == 1


def test_a_ring_keeps_its_keys_when_a_worker_leaves() -> None:
    router = ConsistentHashing(8, 0)
    everybody, without = _view([0] * 8), _view([0] * 8, alive=[0, 1, 2, 4, 5, 6, 7])
    before = [router.choose(_turn(each, 100), everybody) for each in range(200)]
    after = [router.choose(_turn(each, 100), without) for each in range(200)]
    assert set(before) == set(range(8))
    assert [new for old, new in zip(before, after, strict=True) if old != 3] == [x for x in before if x != 3]
    assert 3 not in after


def test_a_hash_of_what_all_prompts_share_tells_no_conversations_apart() -> None:
    router = PrefixHash(8, 0, n_common=300)
    assert len({router.choose(_turn(each, 1_000), _view([0] * 8)) for each in range(50)}) == 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(60, 900), st.integers(0, 3)), max_size=40))
def test_a_tree_forgets_the_oldest_first_and_keeps_within_its_bound(
    prompts: list[tuple[int, int, int]],
) -> None:
    tree = PromptTree(4, n_common=50)
    for conversation, prompt, worker in prompts:
        tree.insert(_turn(conversation, prompt), worker)
    entries = tree.state.entries
    tree.evict(1_000)
    assert tree.n_tokens <= 1_000
    assert tree.state.entries <= entries
    for worker in range(4):
        tree.forget(worker)
    assert tree.n_tokens == 0
    assert not tree.tokens_of.any()


@pytest.mark.parametrize("kind", sorted(MACHINES))
def test_machines_have_the_engines_curves(kind: str) -> None:
    machine = MACHINES[kind]()
    seconds = [machine.cost.seconds(n) for n in (1, 4, 16)]
    assert seconds == sorted(seconds)
    assert machine.cost.seconds(0, 512) > machine.cost.seconds(0, 64)


def test_the_page_has_the_tables_of_the_last_run() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_tables(page, read()) == page
