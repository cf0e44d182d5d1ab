"""Which rounds count, and what they come to."""

from __future__ import annotations

import pytest

from benchmarks.machine import Figure


def test_only_calm_rounds_count_whatever_they_found() -> None:
    figure = Figure.of([(1.0, 0.05), (9.0, 0.5), (3.0, 0.1)])
    assert figure == Figure(2.0, 0.1, counted=2, rounds=3)
    assert figure.is_calm


def test_all_rounds_count_where_none_was_calm_and_the_figure_says_so() -> None:
    figure = Figure.of([(1.0, 0.3), (9.0, 0.5), (3.0, 0.2)])
    assert figure == Figure(3.0, 0.5, counted=3, rounds=3)
    assert not figure.is_calm


def test_a_system_that_does_not_tell_is_calm() -> None:
    assert Figure.of([(1.0, None), (2.0, None)]) == Figure(1.5, None, counted=2, rounds=2)


def test_no_rounds_make_no_figure() -> None:
    assert Figure.of([]) is None


@pytest.mark.parametrize(("elsewhere", "calm"), [(0.04, True), (0.2, False), (None, True)])
def test_entry_says_whether_it_was_calm(elsewhere: float | None, calm: bool) -> None:
    figure = Figure.of([(1.23456, elsewhere)])
    assert figure
    assert figure.entry() == {"value": 1.235, "elsewhere": elsewhere, "counted": 1, "rounds": 1, "calm": calm}
