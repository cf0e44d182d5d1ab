"""The family: a small file for each kind of model, written once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from engine.llm import LLM
from engine.loading import trial
from tests.kinds.files import GENERATING, REFUSED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with a file for each name in ``GENERATING`` and ``REFUSED``."""
    folder = tmp_path_factory.mktemp("family")
    for name, spec in GENERATING.items():
        spec.write(folder / f"{name}.gguf")
    for name, (spec, _kind) in REFUSED.items():
        spec.write(folder / f"{name}.gguf")
    return folder


@pytest.fixture(scope="package", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Note elsewhere than in the user's own cache which files have passed a trial."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="package")
def llm(request: pytest.FixtureRequest, family: Path) -> Iterator[LLM]:
    """Return the model of the family that a test is parametrised with."""
    path = family / f"{request.param}.gguf"
    trial.remember(path)  # tests of trials try them
    with LLM(str(path), parallel=4) as llm:
        yield llm
