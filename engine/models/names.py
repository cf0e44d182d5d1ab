"""A model's name → a GGUF file on this machine.

A name is one of three things: a path, a packaged model (:data:`engine.models.packaged.PACKAGED`), or
``user/repo:QUANT`` on the hub.

Names come from the command line, the settings and Python callers. Nothing here is reachable from a network
request: a request's ``model`` field is compared with what is already served, and never looked up, opened or
downloaded.
"""

from __future__ import annotations

import difflib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.errors import ModelLoadError
from engine.models.download import download
from engine.models.download_plan import plan_download
from engine.models.gguf_header import GGUF_HEADER_BYTES, GGUF_MAGIC
from engine.models.packaged import PACKAGED, packaged_file

_FORMS: Final = "Give the path of a GGUF file, a packaged model, or user/repo:QUANT for one on the hub."

# Words joined by single dots or dashes: no "..", no leading dot, nothing a path or a URL could hide behind.
_WORDS: Final = r"\w+(?:[.-]\w+)*"
_HUB_NAME: Final = re.compile(rf"(?P<repo>{_WORDS}/{_WORDS})(?::(?P<quant>{_WORDS}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model found on this machine."""

    name: str
    """What the model is called when it is served."""
    path: Path
    """The GGUF file; of a model split over several files, the first."""
    source: str
    """Where it came from, for the start-up lines: ``packaged``, ``file`` or ``hub user/repo``."""


def hub_name(name: str) -> tuple[str, str | None] | None:
    """Return the repository and the quantisation that a name of the hub has; None if it is no such name.

    >>> hub_name("user/repo:Q4_K_M"), hub_name("user/repo"), hub_name("../repo")
    (('user/repo', 'Q4_K_M'), ('user/repo', None), None)
    """
    match = _HUB_NAME.fullmatch(name)
    return (match["repo"], match["quant"]) if match else None


def is_path(name: str) -> bool:
    """Return True if a name is taken for the path of a file."""
    return name.startswith((".", "/", "~")) or name.lower().endswith(".gguf") or os.path.isfile(name)


def served_name(name: str) -> str:
    """Return what a model is called when it is served, which needs no look at it.

    >>> served_name("models/llama-3.2-1b.gguf"), served_name("user/repo:Q4_K_M")
    ('llama-3.2-1b', 'user/repo:Q4_K_M')
    """
    if not is_path(name):
        return name
    path = Path(name)
    # Only this suffix goes: what follows the last dot of "llama-3.2-1b" is part of its name.
    return path.stem if path.suffix.lower() == ".gguf" else path.name


def locate(name: str, *, offline: bool = False) -> ModelFile:
    """Find the GGUF file that ``name`` means, downloading or joining it first where that is needed.

    Args:
        name: A path (anything that is a file, ends in ``.gguf``, or starts with ``.``, ``/`` or ``~``); a key
            of :data:`PACKAGED`; or ``user/repo`` with an optional ``:QUANT``, downloaded from the hub. QUANT
            is a part of the file's name, such as ``Q4_K_M``, or the whole of it without ``.gguf``.
        offline: Whether the hub must not be asked: a model of it is then found in the cache.

    Raises:
        ModelLoadError: There is no such model, or what was found is not a GGUF file. Only the file's first
            bytes are read here; damage further in is llama.cpp's to report.
    """
    if "\0" in name:
        raise ModelLoadError(f"A model's name cannot contain a NUL character: {name!r}.", hint=_FORMS)
    if "://" in name:
        raise ModelLoadError(f"A model's name is not a URL: {name!r}.", hint=_FORMS)
    if is_path(name):
        path = Path(os.path.expanduser(name))
        check_gguf(path)
        return ModelFile(served_name(name), path, "file")
    if name in PACKAGED:
        path = packaged_file(name, PACKAGED[name])
        check_gguf(path)
        return ModelFile(name, path, "packaged")
    if asked := hub_name(name):
        path = download(plan_download(*asked, offline=offline))
        check_gguf(path)
        return ModelFile(name, path, f"hub {asked[0]}")
    raise unknown_name(name)


def unknown_name(name: str) -> ModelLoadError:
    """Return the error for a name that means no model."""
    close = difflib.get_close_matches(name.lower(), PACKAGED, n=1, cutoff=0.4)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    return ModelLoadError(
        f"There is no model called {name!r}.{guess} The packaged models are {', '.join(PACKAGED)}.",
        hint=_FORMS,
    )


def check_gguf(path: Path) -> None:
    """Refuse what is not a regular file that begins as a GGUF file does."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ModelLoadError(
                f"{str(path)!r} is a directory, not a GGUF file.", hint="Name the file inside it."
            )
        # Asked before opening: opening a pipe waits for a writer.
        if not stat.S_ISREG(mode):
            raise ModelLoadError(f"{str(path)!r} is not a regular file.")
        with path.open("rb") as file:
            head = file.read(GGUF_HEADER_BYTES)
    except FileNotFoundError:
        raise ModelLoadError(f"There is no file {str(path)!r}.", hint=_FORMS) from None
    except OSError as error:
        raise ModelLoadError(f"{str(path)!r} cannot be read: {error.strerror}.") from error
    if not head:
        raise ModelLoadError(f"{str(path)!r} is empty, not a GGUF file.")
    if head[:4] != GGUF_MAGIC[: len(head)]:
        raise ModelLoadError(
            f"{str(path)!r} is not a GGUF file: it begins with {head[:4]!r}, not {GGUF_MAGIC!r}."
        )
    if len(head) < GGUF_HEADER_BYTES:
        raise ModelLoadError(
            f"{str(path)!r} is truncated: {len(head)} bytes, and the header of a GGUF file alone has "
            f"{GGUF_HEADER_BYTES}."
        )
