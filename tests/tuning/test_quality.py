"""The divergence from the original, beside one that is computed in the obvious way."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engine.backend.base import Batch, decode
from engine.backend.llama import LlamaBackend, LlamaOptions
from engine.backend.llama_model import LlamaModel
from engine.tuning.quality import Reference, kl_divergence
from engine.tuning.text import passages, text_tokens

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

LOGITS = arrays.arrays(
    np.float32,
    st.tuples(st.just(3), st.integers(2, 40)),
    elements=st.floats(-40, 40, width=32),
)


def oracle(original: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the sum of p·ln(p/q) of each row."""
    found = []
    for row, beside in zip(original.astype(np.float64), other.astype(np.float64), strict=True):
        p, q = np.exp(row - row.max()), np.exp(beside - beside.max())
        p, q = p / p.sum(), q / q.sum()
        found.append(sum(a * (np.log(a) - np.log(b)) for a, b in zip(p, q, strict=True) if a > 0))
    return np.array(found)


@settings(deadline=None)
@given(st.data())
def test_it_is_that_of_the_oracle(data: st.DataObject) -> None:
    original = data.draw(LOGITS)
    other = data.draw(arrays.arrays(np.float32, original.shape, elements=st.floats(-40, 40, width=32)))
    np.testing.assert_allclose(kl_divergence(original, other), oracle(original, other), rtol=1e-9, atol=1e-12)


@settings(deadline=None)
@given(LOGITS, st.floats(-100, 100, width=32))
def test_equal_distributions_do_not_diverge(logits: NDArray[np.float32], shift: float) -> None:
    assert not kl_divergence(logits, logits).any()
    assert kl_divergence(logits, logits + np.float32(shift)).max() < 1e-4  # the sum is rounded


def test_a_token_that_cannot_come_in_either_counts_nothing() -> None:
    never = np.float32("-inf")
    original, other = np.array([[1, 2, never]], np.float32), np.array([[2, 1, never]], np.float32)
    np.testing.assert_allclose(kl_divergence(original, other), oracle(original[:, :2], other[:, :2]))


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_diverge_without_end(broken: float) -> None:
    original, other = np.zeros((1, 3), np.float32), np.array([[0, broken, 0]], np.float32)
    assert kl_divergence(original, other) == np.inf


def options() -> LlamaOptions:
    return LlamaOptions(
        n_slots=1,
        prefix_cache=False,
        n_cells=512,
        n_batch=128,
        n_threads=1,
        n_gpu_layers=0,
        batch_invariant="off",
    )


def rows_of(backend: LlamaBackend, tokens: list[int]) -> NDArray[np.float32]:
    """Return the logits of a text, in the steps that a comparison takes."""
    size, rows, batch = backend.n_scored, [], Batch(backend.n_scored)
    for start in range(0, len(tokens), size):
        part = tokens[start : start + size]
        batch.fill(part, range(start, start + len(part)), [0] * len(part), [True] * len(part))
        rows.append(decode(backend, batch).copy())
    backend.truncate(0, 0)
    return np.concatenate(rows)


class TestReference:
    @pytest.fixture
    def tokens(self, original: Path) -> list[int]:
        return text_tokens(LlamaModel(original), 150)

    def measure(self, path: Path, original: Path, tokens: list[int], folder: Path) -> tuple[Any, Any, Any]:
        with (
            closing(LlamaBackend(LlamaModel(original), options())) as one,
            closing(LlamaBackend(LlamaModel(path), options())) as other,
        ):
            reference = Reference(folder / "logits", tokens, one, lambda: None)
            return reference.quality_of(other, lambda: None), rows_of(one, tokens), rows_of(other, tokens)

    def test_a_model_loses_nothing_beside_itself(
        self, original: Path, tokens: list[int], tmp_path: Path
    ) -> None:
        quality, *_ = self.measure(original, original, tokens, tmp_path)
        assert (quality.mean_kl, quality.p99_kl, quality.changed_argmax) == (0, 0, 0)
        assert quality.n_tokens == len(tokens)

    def test_another_model_loses_what_its_logits_say(
        self, original: Path, other: Path, tokens: list[int], tmp_path: Path
    ) -> None:
        quality, ours, theirs = self.measure(other, original, tokens, tmp_path)
        expected = oracle(ours, theirs)
        assert quality.mean_kl == pytest.approx(expected.mean(), rel=1e-9)
        assert quality.p99_kl == pytest.approx(np.percentile(expected, 99), rel=1e-9)
        assert quality.changed_argmax == (ours.argmax(1) != theirs.argmax(1)).mean()
        assert 0 < quality.mean_kl < quality.p99_kl

    def test_it_can_be_ended_between_two_steps(
        self, original: Path, tokens: list[int], tmp_path: Path
    ) -> None:
        steps = iter([None, KeyboardInterrupt])

        def check() -> None:
            if (end := next(steps)) is not None:
                raise end

        with closing(LlamaBackend(LlamaModel(original), options())) as backend:
            with pytest.raises(KeyboardInterrupt):
                Reference(tmp_path / "logits", tokens, backend, check)
            assert backend.used_cells(0) == 0


class TestText:
    def test_it_is_mixed(self) -> None:
        texts = passages()
        assert len(texts) == 11
        for sign in ("ü", "é", "ñ", "春", "Осенью", "def ", "#include", '"sku"', "User:"):
            assert any(sign in text for text in texts), sign

    def test_a_short_part_has_something_of_every_passage(self, original: Path) -> None:
        model = LlamaModel(original)
        tokens = text_tokens(model, 220)
        assert 200 <= len(tokens) <= 220
        shown = b"".join(map(model.piece, tokens)).decode("utf-8", "ignore")
        assert all(text[:4] in shown for text in passages())

    def test_a_text_is_never_longer_than_there_is(self, original: Path) -> None:
        model = LlamaModel(original)
        assert text_tokens(model, 10**6) == text_tokens(model, 10**7)
