"""Guessed tokens: what is guessed, when that is worth a row, and that no answer changes."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.backend.invariance import BatchInvariance
from engine.core.answers import Answers
from engine.core.drafter import Drafter
from engine.core.lookup import Lookup, PromptIndex
from engine.core.loop import StepLoop
from engine.core.sequence import Prompt, Sequence, StopRules
from engine.core.step_cost import StepCost
from engine.sampling import SamplingParams
from tests.core.fake_backend import END, N_VOCAB, FakeBackend
from tests.core.runs import whole
from tests.core.steps import Steps, prompt
from tests.core.test_forms import matcher

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engine.core.answers import Output
    from engine.core.delta import Delta

TEXTS = st.lists(st.integers(0, 3), max_size=40)
STOPS = [(), ("AB",), ("C", "FF"), ("E",)]


def place_of(text: list[int]) -> int | None:
    """Return the position behind the last place that ends with the same tokens: with eight, or with three."""
    for length in (8, 3):
        ends = [i for i in range(length, len(text)) if text[i - length : i] == text[-length:]]
        if ends:
            return ends[-1]
    return None


def found(text: list[int], n_before: int, most: int) -> list[int]:
    """Return what followed before, the slow way, where all but ``n_before`` tokens came one by one."""
    place = place_of(text[:n_before])
    for end in range(n_before, len(text)):
        goes_on = place is not None and text[place] == text[end]
        place = place + 1 if goes_on and place is not None else place_of(text[: end + 1])
    if place is None:
        return []
    copy = text[:]
    for i in range(most):
        copy.append(copy[place + i])
    return copy[len(text) :]


@given(TEXTS, TEXTS, st.integers(1, 12))
def test_what_followed_before_is_found_as_the_text_grows(
    before: list[int], behind: list[int], most: int
) -> None:
    index = PromptIndex(before)
    lookup = Lookup(index, [])
    for i, token in enumerate(behind):
        assert lookup.draft(most) == found(before + behind[:i], len(before), most)
        lookup.append(token)
    expected = found(before + behind, len(before), most)
    assert Lookup(index, behind).draft(most) == lookup.draft(most) == expected


@given(TEXTS, TEXTS)
def test_how_much_is_alike_is_known(before: list[int], behind: list[int]) -> None:
    lookup = Lookup(PromptIndex(before), behind)
    text, draft = before + behind, lookup.draft(1)
    places = [
        i for i in range(1, len(text)) if text[i - lookup.matched : i] == text[len(text) - lookup.matched :]
    ]
    assert bool(draft) == bool(lookup.matched)
    assert not draft or any(text[place] == draft[0] for place in places)


def test_a_place_that_is_long_alike_is_believed_more_than_a_short_one() -> None:
    drafter = Drafter(PromptIndex([*range(1, 40), 50, 51, 52, 60, *range(1, 4)]), [])
    for token in range(4, 40):
        drafter.note(token)
    long = drafter.chance
    for token in (50, 51, 52, 61, 50, 51, 52):
        drafter.note(token)
    assert drafter.has_guess
    assert drafter.chance < long


def test_guesses_are_judged_also_where_nobody_uses_them() -> None:
    drafter = Drafter(PromptIndex([1, 2, 3, 4, 1, 2, 3]), [])
    drafter.note(4)
    better = drafter.chance
    drafter.note(9)
    assert 0.5 < better > drafter.chance
    assert not drafter.has_guess, "nothing has followed (3, 4, 9) before"
    drafter.note(9)
    assert drafter.chance < better


def costs(**seconds: float) -> StepCost:
    decode = {int(width[1:]): each for width, each in seconds.items()}
    return StepCost(decode, {1: 0.01}, max_decodes=24, max_tokens=64)


class TestSteps:
    def test_a_token_that_was_guessed_costs_no_step_of_its_own(self) -> None:
        steps = Steps(n_slots=1, n_cells=100, budget=32, drafted=16, cost=costs(_1=1.0, _24=1.1))
        steps.submit(prompt(3, max_tokens=40))
        n_steps = 0
        while steps.scheduler.has_work:
            n_steps += bool(steps.step().n_tokens)
        assert steps.n_accepted > 20
        assert n_steps == 40 - steps.n_accepted

    @pytest.mark.parametrize(
        ("cost", "drafted"),
        [(costs(_1=1.0, _24=24.0), 16), (costs(_1=1.0, _24=1.1), 0), (None, 16)],
        ids=["rows cost what they give", "off", "nothing is known"],
    )
    def test_nothing_is_guessed_where_that_is_not_cheaper(self, cost: StepCost | None, drafted: int) -> None:
        steps = Steps(n_slots=1, n_cells=100, budget=32, drafted=drafted, cost=cost)
        steps.submit(prompt(3, max_tokens=40))
        plans = [steps.step() for _ in range(40)]
        assert not any(plan.drafts for plan in plans)

    def test_a_guess_that_is_wrong_leaves_no_cell(self) -> None:
        steps = Steps(n_slots=1, n_cells=60, budget=32, drafted=16, cost=costs(_1=1.0, _24=1.1))
        steps.submit(prompt(3, max_tokens=50))
        for token in [5] * 8 + [6, 5, 5, 7] * 3:
            steps.step(token)
        steps.finish()

    def test_beside_others_nobody_guesses_while_cells_must_stay_in_order(self) -> None:
        steps = Steps(
            n_slots=2,
            n_cells=400,
            budget=40,
            drafted=16,
            invariance=BatchInvariance(40),
            cost=costs(_1=1.0, _2=1.0, _24=1.1),
        )
        steps.submit(prompt(3, max_tokens=300, batch_invariant=True))
        alone = [steps.step() for _ in range(8)]
        assert any(plan.drafts for plan in alone)
        steps.submit(prompt(3, max_tokens=30))
        together = [steps.step() for _ in range(6)]
        assert steps.scheduler.n_running == 2
        assert not any(plan.drafts for plan in together)
        steps.finish()

    @pytest.mark.parametrize("batch_invariant", [False, True])
    def test_a_row_that_would_be_padding_is_a_guess_instead(self, batch_invariant: bool) -> None:
        """Where a lone decode behind many cells is padded to two, a guess beside it is for nothing."""
        steps = Steps(
            n_slots=1,
            n_cells=600,
            budget=40,
            drafted=16,
            invariance=BatchInvariance(40),
            cost=costs(_1=1.0, _2=2.0, _24=24.0),
        )
        steps.submit(prompt(300, max_tokens=60, batch_invariant=batch_invariant))
        plans = [steps.step() for _ in range(40)]
        guesses = {plan.n_drafted for plan in plans}
        assert guesses == ({0, 1} if batch_invariant else {0})
        assert all(plan.padding.tokens == 0 for plan in plans if plan.n_drafted)
        steps.finish()


class RepeatingBackend(FakeBackend):
    """A model that soon repeats itself, since it looks at no more than the last token."""

    def __init__(self, **options: Any) -> None:
        n_drafted = options.pop("n_drafted")
        super().__init__(**options)
        self.n_drafted = n_drafted

    def row(self, held: list[int]) -> NDArray[np.float32]:
        row = np.random.default_rng(zlib.crc32(bytes(held[-1:]))).normal(0, 4, N_VOCAB).astype(np.float32)
        row[END] -= 4.0
        return row


class OverlappingBackend(RepeatingBackend):
    """The same, taking its steps by itself."""

    is_asynchronous = True


def told(backend: FakeBackend, prompts: list[Prompt]) -> tuple[list[list[Delta]], StepLoop]:
    cost = StepCost({1: 1.0, 30: 1.01}, {1: 0.01}, max_decodes=30, max_tokens=64)
    steps = StepLoop(backend, max_logprobs=5, cost=cost)
    outputs: list[Output] = []
    for each in prompts:
        steps.submit(each)
    with patch.object(Answers, "_draw_alone", side_effect=AssertionError("a draw has failed")):
        for _ in range(3000):
            if not steps.has_work:
                break
            steps.step(outputs.extend)
    assert not steps.has_work
    assert steps.scheduler.free_cells == backend.n_cells
    assert all(backend.used_cells(slot) == 0 for slot in range(backend.n_slots))
    by_owner = [[output.delta for output in outputs if output.owner is each.owner] for each in prompts]
    return by_owner, steps


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(1, 30), min_size=1, max_size=9),
            st.integers(1, 3),
            st.integers(1, 60),
            st.integers(0, len(STOPS) - 1),
            st.sampled_from([0.0, 0.7]),
            st.sampled_from([0, 0, 5, 30]),
            st.booleans(),
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 3),
    st.sampled_from([90, 256]),
    st.sampled_from([RepeatingBackend, OverlappingBackend]),
)
def test_no_answer_changes(
    spec: list[tuple[list[int], int, int, int, float, int, bool]],
    n_slots: int,
    n_cells: int,
    kind: type[RepeatingBackend],
) -> None:
    def prompts() -> list[Prompt]:
        made = []
        for number, (tokens, n, max_tokens, stops, temperature, least, penalized) in enumerate(spec):
            each = Prompt(object(), tokens, len(tokens))
            params = SamplingParams(
                seed=number, logprobs=2, temperature=temperature, frequency_penalty=0.2 if penalized else 0.0
            )
            stop = StopRules(frozenset({END}), STOPS[stops], min_tokens=least)
            each.sequences += [
                Sequence(each, choice, params, max_tokens=max_tokens, stop=stop, rng_stream=choice)
                for choice in range(n)
            ]
            made.append(each)
        return made

    options: dict[str, Any] = {"n_slots": n_slots, "n_cells": n_cells, "endless": False}
    without, _ = told(RepeatingBackend(**options, n_drafted=0), prompts())
    guessed, _ = told(kind(**options, n_drafted=16), prompts())
    assert [whole(deltas) for deltas in guessed] == [whole(deltas) for deltas in without]


@pytest.mark.parametrize("kind", [RepeatingBackend, OverlappingBackend])
def test_what_repeats_takes_few_steps(kind: type[RepeatingBackend]) -> None:
    made = Prompt(object(), [1, 2], 2)
    params = SamplingParams(seed=1, temperature=0.0)
    made.sequences.append(Sequence(made, 0, params, max_tokens=200, stop=StopRules()))
    _, steps = told(kind(n_slots=1, n_drafted=16), [made])
    assert steps.totals.accepted > 150
    assert steps.totals.steps < 60
    assert steps.totals.accepted <= steps.totals.drafted


def test_forced_tokens_beside_guesses_change_no_log_probability() -> None:
    """Both come out of one step; what is drawn behind a guess must not overwrite what was drawn before."""

    def prompts() -> list[Prompt]:
        made = []
        for regex, logprobs, temperature in ((None, 2, 0.3), ("([A-D]{2}HELLO)*", None, 0.7)):
            each = Prompt(object(), [1, 2, 3], 3)
            params = SamplingParams(seed=0, logprobs=logprobs, temperature=temperature)
            form = None if regex is None else matcher(regex)
            each.sequences.append(Sequence(each, 0, params, max_tokens=80, stop=StopRules(), matcher=form))
            made.append(each)
        return made

    without, _ = told(RepeatingBackend(n_drafted=0), prompts())
    guessed, steps = told(RepeatingBackend(n_drafted=16), prompts())
    assert steps.totals.accepted > 10
    assert whole(guessed[0]) == whole(without[0])
