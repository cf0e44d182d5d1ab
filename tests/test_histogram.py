"""Numbers counted between bounds."""

from __future__ import annotations

import doctest
import sys
import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import histogram
from engine.histogram import Histogram

NUMBERS = st.floats(0, 100)


@given(bounds=st.sets(NUMBERS, min_size=1), numbers=st.lists(NUMBERS))
def test_each_number_is_below_the_first_bound_that_it_does_not_pass(
    bounds: set[float], numbers: list[float]
) -> None:
    told = Histogram(tuple(sorted(bounds)))
    for number in [*numbers, *bounds]:
        told.add(number)
    found = told.read()
    edges = [-1.0, *sorted(bounds), float("inf")]
    for (low, high), count in zip(pairwise(edges), found.counts, strict=True):
        assert count == sum(low < number <= high for number in [*numbers, *bounds])
    assert abs(found.total - sum(numbers) - sum(bounds)) < 1e-6


@pytest.mark.skipif(not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="it is the GIL that counts")
def test_threads_that_add_at_once_lose_nothing() -> None:
    told, each = Histogram((1.0,)), 20_000

    def add() -> None:
        for _ in range(each):
            told.add(1.0)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=add) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert told.read() == ((1.0,), (4 * each, 0), 4.0 * each)


def test_the_example_is_right() -> None:
    assert doctest.testmod(histogram).failed == 0
