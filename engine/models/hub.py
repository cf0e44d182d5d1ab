"""The hub: what a repository holds, addresses of its files, and what a failure means."""

from __future__ import annotations

import errno
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from engine.errors import ModelLoadError
from engine.models.choice import choose
from engine.models.display import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

HUB_TIMEOUT_S: Final = 10.0
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_DIGEST: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_LONGEST_NAME: Final = 255


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository."""

    name: str
    """Its path in the repository, which does not leave it."""
    n_bytes: int
    digest: str
    """Its SHA-256, or for a small file git's SHA-1 of it; in hexadecimal."""


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """The files of one model on the hub."""

    endpoint: str
    """The hub's address."""
    repo: str
    commit: str
    files: tuple[RemoteFile, ...]
    licence: str | None

    def url(self, file: RemoteFile) -> str:
        """Return the address of a file."""
        return _url(self.endpoint, self.repo, self.commit, file.name)


def find_model(repo: str, quant: str | None) -> RemoteModel:
    """Ask the hub for the model that a name means.

    Raises:
        ModelLoadError: the name means none or several, or the hub answered what cannot be used.
        Exception: the hub cannot be reached, or refuses; see :func:`is_an_answer` and :func:`hub_failure`.
    """
    # Imported here: it takes half a second, and most names need no hub.
    from huggingface_hub import HfApi

    api = HfApi()  # honours HF_ENDPOINT and HF_TOKEN
    info = api.model_info(repo, timeout=HUB_TIMEOUT_S, files_metadata=True)
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    names = choose(repo, siblings, quant)
    refuse_climbing(repo, names)
    if not _COMMIT.fullmatch(info.sha or ""):
        raise ModelLoadError(f"The hub at {api.endpoint} gives {repo!r} no commit, but {info.sha!r:.60}.")
    files = tuple(_remote_file(api.endpoint, repo, info.sha, siblings[name]) for name in names)
    return RemoteModel(api.endpoint, repo, info.sha, files, _licence(info))


def refuse_climbing(repo: str, names: Iterable[str]) -> None:
    """Refuse names of files that could mean a place outside of the repository's folder.

    Raises:
        ModelLoadError: one of them could, or is no name of a file.
    """
    for name in names:
        if not _is_inside(name):
            raise ModelLoadError(
                f"{repo!r} names a file {name!r:.120}, which is refused: it may lie outside of the cache.",
                hint="Choose another repository, and tell the hub about this one.",
            )


def _is_inside(name: str) -> bool:
    """Return True if a name is a path of plain parts, to POSIX and to Windows."""
    if not name.isprintable() or re.search(r'[\\:*?"<>|]', name):
        return False
    parts = name.split("/")
    return all(part not in {"", ".", ".."} and len(part.encode()) <= _LONGEST_NAME for part in parts)


def _remote_file(endpoint: str, repo: str, commit: str, sibling: Any) -> RemoteFile:
    name, n_bytes = sibling.rfilename, sibling.size
    digest = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
    if digest is None or n_bytes is None:  # some mirrors list names alone
        from huggingface_hub import get_hf_file_metadata

        found = get_hf_file_metadata(_url(endpoint, repo, commit, name), timeout=HUB_TIMEOUT_S)
        digest, n_bytes = found.etag, found.size
    if not isinstance(n_bytes, int) or n_bytes < 0 or not _DIGEST.fullmatch(str(digest)):
        raise ModelLoadError(
            f"The hub at {endpoint} gives {name!r} of {repo!r} no size and no digest, "
            "so that it could not be checked.",
            hint="Fetch the file by other means, and give its path.",
        )
    return RemoteFile(name, n_bytes, digest)


def _licence(info: Any) -> str | None:
    licence = getattr(info.card_data, "license", None)
    return printable(licence) if isinstance(licence, str) else None


def _url(endpoint: str, repo: str, commit: str, name: str) -> str:
    from huggingface_hub import hf_hub_url

    return str(hf_hub_url(repo, name, revision=commit, endpoint=endpoint))


def first_bytes(url: str, count: int) -> bytes:
    """Return the first bytes of a file on the hub; fewer if it is slow.

    Raises:
        Exception: the hub cannot be reached, or refuses.
    """
    from huggingface_hub import get_session, hf_raise_for_status
    from huggingface_hub.utils import build_hf_headers

    headers = {**build_hf_headers(), "Accept-Encoding": "identity", "Range": f"bytes=0-{count - 1}"}
    deadline = time.monotonic() + HUB_TIMEOUT_S
    data = bytearray()
    with get_session().stream("GET", url, headers=headers, timeout=HUB_TIMEOUT_S) as response:
        hf_raise_for_status(response)
        for piece in response.iter_bytes():  # of the whole file, where the hub knows no ranges
            data += piece
            if len(data) >= count or time.monotonic() > deadline:
                break
    return bytes(data[:count])


def is_forbidden(error: Exception) -> bool:
    """Return True if the hub gives a file to others only."""
    from huggingface_hub.errors import HfHubHTTPError

    return isinstance(error, HfHubHTTPError) and error.response.status_code in {401, 403}


def is_an_answer(error: Exception) -> bool:
    """Return True if the hub refused the request, False if it was unreachable, failed or is too busy."""
    from huggingface_hub.errors import HfHubHTTPError

    status = error.response.status_code if isinstance(error, HfHubHTTPError) else 500
    return status < 500 and status not in {408, 429}


def hub_failure(repo: str, error: Exception) -> ModelLoadError:
    """Return what a failure means to whoever asked for ``repo``."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled

    endpoint = HfApi().endpoint
    if isinstance(error, GatedRepoError):
        return ModelLoadError(
            f"The hub's repository {repo!r} is gated.", hint="Accept its terms on the hub, then set HF_TOKEN."
        )
    if isinstance(error, OfflineModeIsEnabled):
        return not_cached(repo)
    if isinstance(error, HfHubHTTPError):
        return _refusal(endpoint, repo, error.response.status_code)
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return ModelLoadError(
            f"The disk is full: {repo!r} cannot be fetched further.",
            hint="Free some space (`nucleus rm` removes models), then try again: it goes on from there.",
        )
    if isinstance(error, OSError) and error.filename:
        return ModelLoadError(
            f"The hub's cache cannot be used: {str(error.filename)!r}: {error.strerror}.",
            hint="HF_HOME says where it is.",
        )
    reason = next(iter(str(error).splitlines()), "no reason given").rstrip(".")
    return ModelLoadError(
        f"{repo!r} cannot be fetched from the hub at {endpoint}: "
        f"{type(error).__name__}: {printable(reason)}.",
        hint="Try again: a download goes on where it stopped. Or give the path of a GGUF file, or a packaged "
        "model, to work without the hub.",
    )


def _refusal(endpoint: str, repo: str, status: int) -> ModelLoadError:
    # Without a token, the hub answers 401 for a repository that does not exist, as for a private one.
    if status in {401, 403, 404}:
        return ModelLoadError(
            f"The hub at {endpoint} has no repository {repo!r} that you may read ({status}).",
            hint="Check its spelling; a private one needs a valid HF_TOKEN.",
        )
    hint = None
    if status == 429:
        hint = "It limits how often it is asked: wait some minutes, or set HF_TOKEN."
    elif status >= 500:
        hint = "Try again later: a download goes on where it stopped."
    return ModelLoadError(f"The hub at {endpoint} answered {status} when asked for {repo!r}.", hint=hint)


def not_cached(repo: str) -> ModelLoadError:
    """Return the error for a model that is not here while the hub must not be asked."""
    return ModelLoadError(
        f"{repo!r} is not in the hub's cache, and HF_HUB_OFFLINE or --offline forbids to fetch it.",
        hint="Unset HF_HUB_OFFLINE, or leave --offline out.",
    )
