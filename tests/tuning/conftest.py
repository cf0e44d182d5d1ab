"""A small file in full precision, a cache of its own, and clocks that are not the machine's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from engine import hardware
from engine.loading import trial
from engine.tuning import file_search
from engine.tuning.bench import Bench
from engine.tuning.conversion import write
from tests.kinds import vocabularies
from tests.kinds.files import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from engine.loading.child import Child


ONE_HEAD = {"attention.head_count": 1}
"""Its keys are as long as a block of the types that a KV cache can have."""


@pytest.fixture(scope="package", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep notes and temporary files elsewhere than in the user's own cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder / "nucleus"


@pytest.fixture(scope="package", autouse=True)
def one_core() -> Iterator[None]:
    """Let the machine have one core: threads that wait for each other are slow where others are at work."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hardware, "physical_cores", lambda: 1)
        patch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
        yield


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


@pytest.fixture(scope="module")
def converted_here() -> Iterator[None]:
    """Convert files in this process: to start one takes a second."""

    def convert(
        source: Path,
        target: Path,
        types: Mapping[str, str],
        *,
        main_type: str,
        timeout_s: float,
        started: Callable[[Child], None],
    ) -> None:
        assert timeout_s > 0
        assert not target.exists()
        write(source, target, types, main_type)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_search, "convert", convert)
        yield


@pytest.fixture(scope="module")
def smaller_is_faster() -> Iterator[None]:
    """Let a step take as long as its weights are large, except for one stream, where the original is best."""

    def step_seconds(bench: Bench, streams: int, _step: int) -> float:
        size = bench.backend.info.n_bytes
        return 1 / size if streams == 1 else float(size)

    def prefill_seconds(bench: Bench, n_tokens: int) -> float:
        return n_tokens * 1e-6 * bench.backend.info.n_bytes

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bench, "step_seconds", step_seconds)
        patch.setattr(Bench, "prefill_seconds", prefill_seconds)
        yield
