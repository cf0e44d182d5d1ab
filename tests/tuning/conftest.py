"""A small file in full precision, a cache of its own, and clocks that are not the machine's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from engine.loading import trial
from engine.tuning.bench import Bench
from tests.models import vocabularies
from tests.models.files import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


ONE_HEAD = {"attention.head_count": 1}
"""Its keys are as long as a block of the types that a KV cache can have."""


@pytest.fixture(scope="package", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep notes and temporary files elsewhere than in the user's own cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder / "nucleus"


@pytest.fixture(scope="package")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model whose matrices are in full precision, so that every type loses something."""
    path = tmp_path_factory.mktemp("original") / "tiny.gguf"
    ModelSpec(vocabularies.bpe("gpt-2"), metadata=ONE_HEAD, quantized=False).write(path)
    trial.remember(path)  # tests of trials try them
    return path


@pytest.fixture(scope="package")
def other(original: Path) -> Path:
    """Return the same model with other types."""
    spec = ModelSpec(vocabularies.bpe("gpt-2"), metadata=ONE_HEAD, quantized=True)
    return spec.write(original.with_name("other.gguf"))


@pytest.fixture
def smaller_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a step take as long as its weights are large, except for one stream, where the original is best."""

    def decode_seconds(bench: Bench, streams: int, _check: Callable[[], None]) -> float:
        size = bench.backend.info.n_bytes
        return 1 / size if streams == 1 else float(size)

    monkeypatch.setattr(Bench, "decode_seconds", decode_seconds)
    monkeypatch.setattr(
        Bench, "prefill_seconds", lambda bench, n_tokens: n_tokens * 1e-6 * bench.backend.info.n_bytes
    )
