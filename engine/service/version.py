"""Which versions of what a server is made of."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from engine import __version__
from engine.contract.status import ServerVersion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.contract.status import ModelVersion


def server_version(model: ModelVersion, features: Sequence[str]) -> ServerVersion:
    """Return the versions of Nucleus and what it stands on, for a model and a build of llama.cpp."""
    return ServerVersion(
        version=__version__,
        python=platform.python_version(),
        llama_cpp_python=_version_of("llama-cpp-python"),
        features=list(features),
        model=model,
    )


def _version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
