"""The models of the benchmarks."""

from __future__ import annotations

import pytest

from engine.errors import ModelLoadError
from engine.models.names import ModelFile, locate


@pytest.fixture(scope="session", params=["smollm2-135m-instruct", "gemma-3-270m"])
def model(request: pytest.FixtureRequest) -> ModelFile:
    try:
        return locate(request.param)
    except ModelLoadError as error:
        pytest.skip(f"{error} {error.hint or ''}")
