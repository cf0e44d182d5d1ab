"""What a download of a model from the hub will do: its files, their sizes, and what is here already."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from engine.errors import ModelLoadError
from engine.models.choice import choose
from engine.models.hub import RemoteFile, RemoteModel, find_model, hub_failure, is_an_answer, not_cached
from engine.models.hub_cache import RepositoryCache, free_bytes, size_of

if TYPE_CHECKING:
    from pathlib import Path

RESERVE: Final = 512 << 20
"""Bytes of the disk that a download leaves free."""


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file of a download."""

    name: str
    """Its path in the repository."""
    n_bytes: int
    n_here: int
    """How many of its bytes are in the cache."""

    @property
    def is_here(self) -> bool:
        """Whether all of it is in the cache."""
        return self.n_here >= self.n_bytes


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """What a download will do."""

    repo: str
    commit: str
    files: tuple[PlannedFile, ...]
    snapshot: Path
    """The folder in the cache that has the repository's files under their names."""
    free: int | None
    """Bytes that are free on the disk of the cache, or None where nobody knows."""
    remote: RemoteModel | None
    """What the hub says; None if it was not asked, or did not answer: then all is in the cache."""

    @property
    def path(self) -> Path:
        """Where the model will be; of a split one, its first file."""
        return self.snapshot / self.files[0].name

    @property
    def n_bytes(self) -> int:
        """The bytes of all files."""
        return sum(file.n_bytes for file in self.files)

    @property
    def n_missing(self) -> int:
        """The bytes that are to be fetched."""
        return sum(file.n_bytes - file.n_here for file in self.files)

    @property
    def fits_disk(self) -> bool | None:
        """Whether the disk has room for what is missing; None if nobody knows."""
        if not self.n_missing:
            return True
        return None if self.free is None else self.n_missing + RESERVE <= self.free

    def as_json(self) -> dict[str, Any]:
        """Return the plan as a mapping of plain values."""
        return {
            "repo": self.repo,
            "commit": self.commit,
            "files": [dataclasses.asdict(file) for file in self.files],
            "path": str(self.path),
            "bytes": self.n_bytes,
            "missing": self.n_missing,
            "free": self.free,
            "fits_disk": self.fits_disk,
            "licence": self.remote.licence if self.remote else None,
        }


def plan_download(repo: str, quant: str | None, *, offline: bool = False) -> DownloadPlan:
    """Return what a download of a model will do; nothing is written.

    Without the hub, because it is not asked or does not answer, it is what the cache has.

    Args:
        repo: ``user/name``.
        quant: The part of the file's name that says which model is meant, or None for the default.
        offline: Whether the hub must not be asked.

    Raises:
        ModelLoadError: there is no such model, or the hub refuses.
    """
    if offline:
        plan = _cached_plan(repo, quant)
        if plan is None:
            raise not_cached(repo)
        return plan
    # Any exception: a malformed answer is a KeyError, and its HTTP library's errors come through as they are.
    try:
        remote = find_model(repo, quant)
    except ModelLoadError:
        raise
    except Exception as error:
        plan = None if is_an_answer(error) else _cached_plan(repo, quant)
        if plan is None:
            raise hub_failure(repo, error) from error
        return plan
    cache = RepositoryCache(repo)
    files = tuple(PlannedFile(file.name, file.n_bytes, _n_here(cache, remote, file)) for file in remote.files)
    return DownloadPlan(
        repo, remote.commit, files, cache.snapshot(remote.commit), free_bytes(cache.root), remote
    )


def _cached_plan(repo: str, quant: str | None) -> DownloadPlan | None:
    """Return the plan for what is in the cache; None if nothing of the repository is.

    Raises:
        ModelLoadError: the name means none of what is there, or several.
    """
    cache = RepositoryCache(repo)
    refusal = None
    for snapshot in cache.snapshots():
        names = cache.models(snapshot)
        try:
            chosen = choose(repo, names, quant)
        except ModelLoadError as error:  # an older commit may have it
            refusal = refusal or error
            continue
        sizes = [(snapshot / name).stat().st_size for name in chosen]
        files = tuple(PlannedFile(name, size, size) for name, size in zip(chosen, sizes, strict=True))
        return DownloadPlan(repo, snapshot.name, files, snapshot, free_bytes(cache.root), None)
    if refusal is not None:
        raise refusal
    return None


def _n_here(cache: RepositoryCache, remote: RemoteModel, file: RemoteFile) -> int:
    """Return how many bytes of a file the cache has; 0 where what it has cannot be right."""
    for path in (cache.pointer(remote.commit, file.name), cache.blob(file.digest)):
        if size_of(path) == file.n_bytes:
            return file.n_bytes
    # Until its digest is compared, even a file of the right size is not whole.
    here = size_of(cache.partial(file.digest)) or 0
    return max(0, min(here, file.n_bytes - 1)) if here <= file.n_bytes else 0
