"""What the tokens before a row cost."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.attention_cost import AttentionCost, AttentionCosts, Depth
from engine.core.calibration import calibrate
from engine.core.prefill_budget import prefill_budget
from engine.core.step_cost import StepCost
from tests.core.fake_backend import FakeBackend


def costs(**known: AttentionCost) -> AttentionCosts:
    return AttentionCosts.unknown()._replace(**known)


def test_rows_of_long_texts_cost_more_and_those_of_padding_do_not() -> None:
    attention = costs(decodes=AttentionCost(0.001, at=64), prompts=AttentionCost(0.0005, at=64))
    cost = StepCost({1: 1.0, 2: 2.0}, {1: 1.0}, max_decodes=4, max_tokens=64, attention=attention)
    deep = Depth(decodes=1000, prompts=2000)
    assert cost.seconds(2, depth=deep) == pytest.approx(2 + 2 * 1.0)
    assert cost.seconds(1, padding=1, depth=deep) == pytest.approx(2 + 1.0)
    assert cost.seconds(1, 8, depth=deep) == pytest.approx(1 + 8 + 1.0 + 8 * 1.0)


def test_prompts_may_add_as_much_as_decodes_of_long_texts_take() -> None:
    attention = costs(decodes=AttentionCost(0.001, at=64), prompts=AttentionCost(0.001, at=64))
    cost = StepCost({1: 1.0}, {1: 1.0}, max_decodes=8, max_tokens=512, attention=attention)
    assert prefill_budget(cost, 8, 1) == 8
    assert prefill_budget(cost, 8, 1, Depth(decodes=1000)) == 16
    assert prefill_budget(cost, 8, 1, Depth(decodes=1000, prompts=1000)) == 8


def test_a_text_of_a_length_that_was_never_seen_is_learned_at_once() -> None:
    """A sliding window: from 512 tokens on, a row costs no more."""
    attention = costs(decodes=AttentionCost(0.001, at=512, longest=4096))
    cost = StepCost({1: 1.0}, {1: 1.0}, max_decodes=8, max_tokens=512, attention=attention)
    assert cost.seconds(1, depth=Depth(4096)) > 4
    for _ in range(20):
        cost.note(1, 0, 1.512, depth=Depth(4096))
    assert cost.seconds(1, depth=Depth(4096)) == pytest.approx(1.512, rel=0.02)
    assert cost.seconds(1, depth=Depth(512)) == pytest.approx(1.512, rel=0.02)
    assert cost.seconds(1) == pytest.approx(1.0, rel=0.02)


def test_prompts_are_learned_apart_from_decodes() -> None:
    cost = StepCost({1: 1.0}, {1: 0.1}, max_decodes=8, max_tokens=512)
    for _ in range(20):
        cost.note(1, 0, 1.5, depth=Depth(1000))
        cost.note(0, 10, 1.2, depth=Depth(0, 1000))
    assert cost.seconds(1, depth=Depth(1000)) == pytest.approx(1.5, rel=0.05)
    assert cost.seconds(0, 10, depth=Depth(0, 1000)) == pytest.approx(1.2, rel=0.05)


def test_guesses_are_priced_and_learned_apart_from_decodes() -> None:
    attention = costs(decodes=AttentionCost(0.001, at=64), guesses=AttentionCost(0.0002, at=64))
    cost = StepCost({1: 1.0, 4: 1.2}, {1: 1.0}, max_decodes=8, max_tokens=512, attention=attention)
    deep = Depth(decodes=1000)
    assert cost.seconds(4, depth=deep, guesses=3) == pytest.approx(1.2 + 1.0 + 3 * 0.2)
    for _ in range(40):
        cost.note(4, 0, 1.2 + 1.0 + 3 * 0.1, depth=deep, guesses=3)
    assert cost.seconds(4, depth=deep, guesses=3) == pytest.approx(2.5, rel=0.05)
    assert cost.seconds(1, depth=deep) == pytest.approx(2.0, rel=0.05)


def test_calibration_leaves_the_slots_empty_and_prices_nothing_that_cannot_be_cut() -> None:
    for prefix_cache in (True, False):
        backend = FakeBackend(n_slots=2, n_cells=512, prefix_cache=prefix_cache)
        cost = calibrate(backend, seconds=0.05)
        assert not any(backend.used_cells(slot) for slot in range(2))
        assert cost.seconds(1, depth=Depth(400)) >= cost.seconds(1)


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.floats(-1e3, 1e3)), max_size=30),
    st.floats(0, 1e7),
    st.integers(1, 1 << 20),
)
def test_whatever_is_learned_a_row_has_a_price(
    steps: list[tuple[float, float]], depth: float, longest: int
) -> None:
    cost = AttentionCost(1e-6, at=min(100, longest), longest=longest)
    for before, excess in steps:
        assert 0 <= cost.take(before, excess) <= 1
    assert 0 <= cost.seconds(depth) < math.inf
