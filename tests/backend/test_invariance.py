"""How steps are padded so that no row depends on the others, and how that is found out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.backend.base import BackendError
from engine.backend.invariance import NEVER, BatchInvariance
from engine.backend.probe import batch_invariance, try_widths
from tests.core.fake_backend import FakeBackend

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


RULES = [BatchInvariance(63, least, unit) for unit in (1, 2, 4, 8, 16) for least in (unit, 2 * unit)]


@given(st.sampled_from(RULES), st.data())
def test_a_step_that_is_not_too_wide_is_padded_to_whole_groups(
    rule: BatchInvariance, data: st.DataObject
) -> None:
    tokens = data.draw(st.integers(1, rule.max_tokens), label="tokens")
    rows = data.draw(st.integers(0, tokens), label="rows")
    reach = data.draw(st.integers(tokens, 1000), label="reach")
    padding = rule.padding(tokens, rows, reach)
    assert 0 <= padding.rows <= padding.tokens
    for count in (tokens + padding.tokens, rows + padding.rows):
        assert count == 0 or (count >= rule.least and count % rule.unit == 0)
    assert tokens + padding.tokens <= rule.widest
    assert tokens + padding.tokens > 1 or reach <= 256, "a lone token of a long text"
    assert padding.tokens < 2 * max(rule.least, rule.unit, 2), "no more than it takes"


def test_a_step_that_is_too_wide_is_not_padded() -> None:
    assert BatchInvariance(63, 4, 4).padding(61, 61, 61) == (0, 0)


class GroupedBackend(FakeBackend):
    """A model that computes rows by groups, and those that are left over in another way.

    Args:
        unit: Rows of a group.
        least: Rows from which on there are groups.
    """

    def __init__(self, unit: int, least: int) -> None:
        super().__init__(n_batch=64)
        self.unit, self.least = unit, least
        self.widths: list[int] = []

    def logits(self) -> NDArray[np.float32]:
        logits = super().logits()
        size = len(logits)
        self.widths.append(size)
        logits[size // self.unit * self.unit if size >= self.least else 0 :] += 1e-3
        return logits


@pytest.mark.parametrize(
    ("unit", "least"), [(1, 1), (1, 2), (1, 8), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (16, 16)]
)
def test_the_rule_of_groups_is_found_and_remembered(unit: int, least: int) -> None:
    backend = GroupedBackend(unit, least)
    tried = try_widths(backend, {}, free_only=False)
    assert batch_invariance(tried, 512) == BatchInvariance(63, least, unit)
    assert backend.used_cells(0) == 0
    assert {*tried} == {*range(1, 33)} <= {*backend.widths}, "every width"
    backend.widths.clear()
    assert try_widths(backend, tried, free_only=False) == tried
    assert not backend.widths


def test_where_only_what_is_free_counts_the_first_width_that_differs_is_the_last() -> None:
    backend = GroupedBackend(4, 4)
    tried = try_widths(backend, {}, free_only=True)
    assert tried == {1: False}
    assert try_widths(backend, tried, free_only=True) == tried
    assert batch_invariance(try_widths(backend, tried, free_only=False), 512).unit == 4


def test_what_there_was_no_time_for_is_tried_at_the_next_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.backend.probe._SECONDS", -1.0)
    backend = GroupedBackend(1, 1)
    tried = try_widths(backend, {}, free_only=True)
    assert {*tried} == {*range(1, 17)}
    assert batch_invariance(tried, 512) == BatchInvariance(63)
    monkeypatch.setattr("engine.backend.probe._SECONDS", 60.0)
    assert {*try_widths(backend, tried, free_only=True)} == {*range(1, 33)}


class MoodyBackend(FakeBackend):
    """A model in which the last row of several is unlike it would be elsewhere."""

    def logits(self) -> NDArray[np.float32]:
        logits = super().logits()
        logits[-1] += len(logits) > 1
        return logits


def test_a_model_in_which_even_a_place_in_a_group_matters_has_no_rule() -> None:
    tried = try_widths(MoodyBackend(n_batch=64), {}, free_only=False)
    assert batch_invariance(tried, 512) is NEVER


def test_a_model_that_fails_has_no_rule(caplog: pytest.LogCaptureFixture) -> None:
    backend = FakeBackend(n_batch=64)
    backend.faults[3] = BackendError("no memory")
    assert batch_invariance(try_widths(backend, {}, free_only=False), 512) is NEVER
    assert "no memory" in caplog.text


def test_a_row_that_agrees_by_chance_makes_no_rule() -> None:
    """Of Gemma as Q4_K_M, whose groups are of four; a third of the other widths agreed for one text."""
    agreed = {1, 4, 5, 6, 7, 8, 9, 10, 12, 16, 17, 20, 24, 25, 26, 28, 32}
    tried = {width: width in agreed for width in range(1, 33)}
    assert batch_invariance(tried, 512) == BatchInvariance(63, 4, 4)
