"""Text that is made while the next step runs: nobody's answer changes, and nobody's slot is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.loop import StepLoop
from engine.core.sequence import Prompt, Sequence, StopRules
from engine.sampling import SamplingParams
from tests.core.fake_backend import END, FakeBackend
from tests.core.runs import whole

if TYPE_CHECKING:
    from engine.core.answers import Output
    from engine.core.delta import Delta

STOPS = [(), ("AB",), ("C", "FF"), ("E",), ("A", "B", "C", "D")]


class OverlappingBackend(FakeBackend):
    """The fake model, taking its steps by itself."""

    is_asynchronous = True


def asked(spec: list[tuple[list[int], int, int, int]], *, logprobs: int | None = 2) -> list[Prompt]:
    """Make prompts of (tokens, choices, most tokens, stop strings); each is a request of its own."""
    prompts = []
    for number, (tokens, n, max_tokens, stops) in enumerate(spec):
        made = Prompt(object(), tokens, len(tokens))
        for choice in range(n):
            params = SamplingParams(seed=number, logprobs=logprobs)
            stop = StopRules(frozenset({END}), STOPS[stops])
            made.sequences.append(
                Sequence(made, choice, params, max_tokens=max_tokens, stop=stop, rng_stream=choice)
            )
        prompts.append(made)
    return prompts


def answers(backend: FakeBackend, prompts: list[Prompt]) -> list[list[Delta]]:
    """Return what each choice was told; in the end nothing is left in the cache."""
    steps = StepLoop(backend, max_logprobs=5)
    told: dict[Any, list[Delta]] = {each.owner: [] for each in prompts}

    def deliver(outputs: list[Output]) -> None:
        for owner, delta in outputs:
            told[owner].append(delta)

    for each in prompts:
        steps.submit(each)
    for _ in range(2000):
        if not steps.has_work:
            break
        steps.step(deliver)
    assert not steps.has_work
    assert steps.scheduler.free_cells == backend.n_cells
    assert all(backend.used_cells(slot) == 0 for slot in range(backend.n_slots))
    return [told[each.owner] for each in prompts]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(1, 30), min_size=1, max_size=9),
            st.integers(1, 3),
            st.integers(1, 12),
            st.integers(0, len(STOPS) - 1),
        ),
        min_size=1,
        max_size=5,
    ),
    st.integers(1, 3),
    st.sampled_from([24, 40, 256]),
)
def test_every_answer_is_the_same(
    spec: list[tuple[list[int], int, int, int]], n_slots: int, n_cells: int
) -> None:
    options: dict[str, Any] = {"n_slots": n_slots, "n_cells": n_cells, "endless": False}
    first = answers(FakeBackend(**options), asked(spec))
    later = answers(OverlappingBackend(**options), asked(spec))
    assert [whole(deltas) for deltas in later] == [whole(deltas) for deltas in first]
    assert all(len(end) == 1 for deltas in later for *_, end in whole(deltas).values())


@pytest.mark.parametrize("when", range(1, 6))
def test_what_is_cancelled_while_it_waits_to_be_told_is_not_told(when: int) -> None:
    backend = OverlappingBackend(n_slots=2)
    steps = StepLoop(backend, max_logprobs=5)
    gone, stays = asked([([1, 2, 3], 1, 9, 0), ([4, 5], 1, 9, 0)])
    steps.submit(gone)
    steps.submit(stays)
    outputs: list[Output] = []
    for step in range(40):
        if step == when:
            steps.cancel(gone.owner)
            outputs.clear()
        steps.step(outputs.extend)
    assert {output.owner for output in outputs} == {stays.owner}
    assert outputs[-1].delta.is_last
    assert not steps.has_work


def test_a_draw_that_fails_is_not_told_to_who_has_left() -> None:
    backend = OverlappingBackend(n_slots=1)
    steps = StepLoop(backend, max_logprobs=5)
    (poisoned,) = asked([([31, 1, 1, 1, 1], 1, 9, 0)])  # NaN once it is six tokens long
    steps.submit(poisoned)
    outputs: list[Output] = []
    while steps.scheduler.n_running or steps.scheduler.n_waiting:
        steps.step(outputs.extend)
    assert steps.has_work, "its failure is to be told"
    steps.cancel(poisoned.owner)
    outputs.clear()
    steps.step(outputs.extend)
    assert not outputs
    assert not steps.has_work
