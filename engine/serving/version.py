"""What ``/version`` tells: which versions of what answer."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from engine import __version__
from engine.contract.status import ServerVersion

if TYPE_CHECKING:
    from engine.contract.status import GrpcAddress
    from engine.service.service import CompletionService


def version_of(service: CompletionService, grpc: GrpcAddress | None) -> ServerVersion:
    """Return the versions of Nucleus and what it stands on, of which model, and where its gRPC door is."""
    return ServerVersion(
        version=__version__,
        python=platform.python_version(),
        llama_cpp_python=_version_of("llama-cpp-python"),
        features=list(service.features),
        model=service.model_version(),
        grpc=grpc,
    )


def _version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
