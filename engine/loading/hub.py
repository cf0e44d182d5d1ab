"""Models on the hub: which files of a repository a name means, and how they get here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.errors import ModelLoadError
from engine.loading.choice import choose

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_HUB_TIMEOUT_S: Final = 10.0


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
        return snapshot / choose(repo, names, quant)[0]
    wanted = choose(repo, files, quant)
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
