"""How many threads draw the tokens of a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from engine.core import sampler_threads
from engine.core.sampler_threads import fastest_threads

if TYPE_CHECKING:
    from collections.abc import Mapping


@pytest.mark.parametrize(
    ("seconds", "n_slots", "most", "best"),
    [
        ({1: 8.0, 2: 4.0, 4: 2.0, 8: 1.9, 16: 3.0}, 64, 16, 8),
        ({1: 8.0, 2: 7.9}, 64, 16, 1),  # not worth a thread
        ({1: 8.0, 2: 4.0, 3: 3.0}, 64, 3, 3),
        ({1: 8.0, 2: 4.0}, 2, 16, 2),  # no more than there are rows
        ({}, 64, 1, 1),
        ({}, 1, 16, 1),
    ],
)
def test_threads_are_added_while_that_is_worth_it(
    monkeypatch: pytest.MonkeyPatch, seconds: Mapping[int, float], n_slots: int, most: int, best: int
) -> None:
    monkeypatch.setattr(sampler_threads, "_seconds", lambda _vocab, _rows, threads: seconds[threads])
    assert fastest_threads(32_000, n_slots, most) == best


def test_calls_are_timed_with_the_sampler_itself() -> None:
    assert fastest_threads(1000, 4, 2) in (1, 2)
