"""The model that the programs of these tests load."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.embedding.tiny import write

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("tiny") / "tiny.gguf")
