"""One small model, loaded as a replica of a cluster loads it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from engine.deploy.options import cluster_options
from engine.deploy.replica import Replica
from tests.embedding.tiny import write

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="package")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """Named ``tiny``; its key is ``sk-test``."""
    model = str(write(tmp_path_factory.mktemp("deploy") / "tiny.gguf"))
    options = cluster_options({"model": model, "parallel": 2, "api_key": "sk-test"})
    with closing(Replica(options.models[0].engine_options(), options.doors())) as loaded:
        yield loaded
