"""Which roles get the fast type."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.tuning.mixes import Sides, best_mix

ROLES = ("queries", "values", "up", "down", "output")
SHARES = dict(zip(ROLES, (0.1, 0.05, 0.4, 0.25, 0.2), strict=True))
SIDES = Sides(precise_gain=1.25, fast_gain=2.0, precise_loss=0.005)


def test_what_costs_nothing_is_fast() -> None:
    found = best_mix(SIDES, SHARES, dict.fromkeys(ROLES, 0.005), 0.02)
    assert found is not None
    assert found.roles == set(ROLES)
    assert found.gain == pytest.approx(2.0)
    assert found.loss == pytest.approx(0.005)


def test_the_large_role_that_is_still_within_the_limit_wins() -> None:
    losses = {"queries": 0.007, "values": 0.03, "up": 0.015, "down": 0.2, "output": 0.012}
    found = best_mix(SIDES, SHARES, losses, 0.02)
    assert found is not None
    assert found.roles == {"up", "queries"}
    assert found.loss == pytest.approx(0.005 + 0.010 + 0.002)


def test_there_may_be_none() -> None:
    assert best_mix(SIDES, SHARES, dict.fromkeys(ROLES, 0.1), 0.02) is None
    assert best_mix(SIDES, SHARES, {}, 0.02) is None


@given(st.fixed_dictionaries(dict.fromkeys(ROLES, st.floats(0, 0.1))), st.floats(0, 0.2))
def test_it_is_within_the_limit_and_between_the_two_files(losses: dict[str, float], limit: float) -> None:
    found = best_mix(SIDES, SHARES, losses, limit)
    if found is not None:
        assert found.loss <= limit
        assert SIDES.precise_gain <= found.gain <= SIDES.fast_gain * (1 + 1e-9)
