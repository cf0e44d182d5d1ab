"""Models on the hub: which files of a repository a name means, and how they get here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.errors import ModelLoadError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from huggingface_hub import HfApi

_HUB_TIMEOUT_S: Final = 10.0
DEFAULT_QUANTS: Final = ("Q4_K_M", "Q8_0")
_SPLIT: Final = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<count>(?!00000)\d{5})", re.ASCII | re.DOTALL)
_NOT_A_MODEL: Final = re.compile(r"(?<![a-z0-9])(?:mmproj|imatrix)(?![a-z0-9])", re.IGNORECASE)


def from_hub(repo: str, quant: str | None) -> Path:
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
    """Return True if the hub refused the request, False if it was unreachable or failed."""
    from huggingface_hub.errors import HfHubHTTPError

    return isinstance(error, HfHubHTTPError) and error.response.status_code < 500


def _cached_snapshot(api: HfApi, repo: str) -> Path | None:
    """Return the folder with what was downloaded from ``repo`` before; None if nothing was."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        # No pattern: only the files that are chosen later must be complete, not the whole folder.
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
        # Without a token, the hub answers 401 for a repository that does not exist, as for a private one.
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
        """Return True if ``quant`` is a whole part of the name; F16 is not a part of BF16."""
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
    # The repository's owner chose the names: repr keeps control characters out of the terminal.
    names = [repr(model.stem) for model in fits or models]
    listed = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    return ModelLoadError(
        f"{asked} fits {len(fits) or 'none'} of the models in {repo!r}: {listed}.",
        hint=f"Add :QUANT, a part that only one of the names has, or the name itself, as in {repo}:Q4_K_M.",
    )
