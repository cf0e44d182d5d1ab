"""Where the prefixes of a model outlive the process, and what they depend on."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from typing import TYPE_CHECKING

from engine.core.prefix_files import PrefixFiles
from engine.errors import ModelLoadError
from engine.models.digests import sha256_of

if TYPE_CHECKING:
    from pathlib import Path

    from engine.backend.llama import LlamaBackend
    from engine.loading.options import EngineOptions


def prefix_files(
    options: EngineOptions, path: Path, backend: LlamaBackend, **depends: object
) -> PrefixFiles | None:
    """Open the folder of a model's prefixes, if one is asked for and the model's memory can be cut.

    Args:
        options: Where it is, and how large it may be.
        path: The model file; its contents are a part of the key.
        backend: How the model is computed.
        depends: What else the bits of a prefix depend on.

    Raises:
        ModelLoadError: nothing can be written there.
    """
    if options.prefix_cache_dir is None or not backend.prefix_cache:
        return None
    build = importlib.metadata.version("llama-cpp-python")
    rule = backend.batch_invariance
    what = [
        sha256_of(path),
        build,
        backend.n_batch,
        rule.widest,
        rule.least,
        rule.unit,
        sorted(depends.items()),
    ]
    key = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]
    try:
        return PrefixFiles(options.prefix_cache_dir, key, int(options.prefix_cache_dir_gb * 1e9))
    except OSError as error:
        raise ModelLoadError(
            f"--prefix-cache-dir {str(options.prefix_cache_dir)!r} cannot be written: {error.strerror}."
        ) from error
