"""Whether a model fits into memory."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.models.facts import ModelFacts
from engine.models.fit import affordable_context, fit_report

GIB = 1 << 30
LLAMA = ModelFacts("llama", context=8192, cell_bytes=1 << 16)


@given(st.integers(2, 1 << 20), st.integers(1, 1 << 24), st.integers(0, 1 << 40))
def test_the_context_takes_at_most_a_quarter_of_the_memory(trained: int, cell: int, memory: int) -> None:
    context = affordable_context(trained, cell, memory)
    assert context * cell <= memory // 4
    assert context == trained or context % 256 == 0
    assert context == trained or (context + 256) * cell > memory // 4 or context + 256 > trained


@pytest.mark.parametrize(("cell", "memory"), [(0, GIB), (1 << 16, None)])
def test_what_nobody_knows_limits_nothing(cell: int, memory: int | None) -> None:
    assert affordable_context(8192, cell, memory) == 8192


@pytest.mark.parametrize(
    ("facts", "weights", "memory", "fits", "words"),
    [
        (LLAMA, GIB, 4 * GIB, True, "needs 1.6 GB with a context of 8192 tokens: fits into the 4.3 GB"),
        (LLAMA, GIB, 2 * GIB, True, "needs 1.6 GB with a context of 8192 tokens: fits into the 2.1 GB"),
        (LLAMA, GIB, GIB, False, "needs 1.3 GB with a context of 4096 tokens: does not fit into the 1.1 GB"),
        (LLAMA, GIB, 1 << 20, False, "leaves nothing for a context: does not fit into the 1 MB"),
        (ModelFacts(), GIB, 2 * GIB, None, "and some for its context: may fit into the 2.1 GB"),
        (None, GIB, GIB - 1, False, "and some for its context: does not fit into the 1.1 GB"),
        (ModelFacts("mamba", context=512, cell_bytes=0), GIB, 2 * GIB, True, "a context of 512 tokens: fits"),
    ],
)
def test_reports(facts: ModelFacts | None, weights: int, memory: int, fits: bool | None, words: str) -> None:
    report = fit_report(weights, facts, memory=memory)
    assert report.fits is fits
    assert words in str(report)
    assert json.loads(json.dumps(report.as_json()))["needed"] == report.needed


def test_the_context_can_be_chosen() -> None:
    report = fit_report(GIB, LLAMA, context=1 << 17, memory=4 * GIB)
    assert (report.kv_bytes, report.fits) == (8 * GIB, False)


def test_memory_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.hardware.available_memory", lambda: None)
    report = fit_report(GIB, LLAMA)
    assert (report.context, report.fits) == (8192, None)
    assert str(report).endswith("how much memory is free is not known")
