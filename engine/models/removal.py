"""``rm``: takes models of the hub out of the cache."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.errors import ModelLoadError
from engine.models.choice import Candidate, meant, models_in
from engine.models.display import printable
from engine.models.hub_cache import RepositoryCache, size_of
from engine.models.names import hub_name, is_path, unknown_name
from engine.models.packaged import PACKAGED

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed."""

    files: tuple[str, ...]
    """The names of the model's files in the repository; empty if there were only halves."""
    freed: int
    """Bytes of the disk that are free now."""

    def as_json(self) -> dict[str, Any]:
        """Return the removal as a mapping of plain values."""
        return {"files": list(self.files), "freed": self.freed}


def remove(name: str, *, everything: bool = False) -> Removed:
    """Remove a model from the hub's cache; packaged ones and local files are left alone.

    A model that a server runs may be removed: the server keeps it, and its space is free once that ends.

    Args:
        name: ``user/repo:QUANT``; ``user/repo`` if the cache has only one of its models.
        everything: Whether to remove all models of the repository, and downloads that have not ended.

    Raises:
        ModelLoadError: the cache has no such model, or it cannot be removed.
    """
    asked = hub_name(name)
    if asked is None:
        raise _not_of_the_hub(name)
    repo, quant = asked
    cache = RepositoryCache(repo)
    cached = {snapshot: cache.models(snapshot) for snapshot in cache.snapshots()}
    there = sorted({file for files in cached.values() for file in files})
    partials = cache.partials()
    if not there and not partials:
        raise ModelLoadError(
            f"The hub's cache has no model of {repo!r}.", hint="`nucleus models` lists what there is."
        )
    chosen = there if everything else _chosen(repo, quant, there)
    freed = 0
    if chosen == there:  # of a repository without models, nobody goes on with half a file
        freed += sum(size_of(partial) or 0 for partial in partials)
        for partial in partials:
            partial.unlink(missing_ok=True)
    paths = {snapshot / file for snapshot, files in cached.items() for file in files if file in chosen}
    return Removed(tuple(chosen), freed + (_remove_files(cache, paths) if paths else 0))


def _chosen(repo: str, quant: str | None, there: list[str]) -> list[str]:
    """Return those of the files that are the model which is meant, even if some of its parts are missing."""
    models = models_in(there)
    if not models:
        return []
    asked = f"{repo}:{quant}" if quant else repo
    fits = meant(quant, models) if quant else models
    if len(fits) != 1:
        names = ", ".join(f"{repo}:{model.shortest(models)}" for model in fits or models)
        raise ModelLoadError(
            f"{asked!r} means {len(fits) or 'none'} of the models in the cache: {printable(names)}.",
            hint="Name one of them, or remove all of the repository with --all.",
        )
    return [file for file in there if Candidate.of(file) == fits[0]]


def _remove_files(cache: RepositoryCache, paths: set[Path]) -> int:
    """Remove cached files and the contents that no other file shares, and return the bytes that are freed."""
    from huggingface_hub import scan_cache_dir

    scanned = scan_cache_dir(cache.root)
    repos = [repo for repo in scanned.repos if (repo.repo_type, repo.repo_id) == ("model", cache.repo)]
    files = [file for repo in repos for revision in repo.revisions for file in revision.files]
    root = cache.root.resolve()
    wanted = {root / path.relative_to(cache.root) for path in paths}
    chosen = [file for file in files if file.file_path in wanted]
    if len(chosen) < len(wanted):
        reasons = [str(warning) for warning in scanned.warnings if cache.folder.name in str(warning)]
        raise ModelLoadError(
            f"The cache of {cache.repo!r} is damaged: {printable(next(iter(reasons), 'no reason given'))}.",
            hint=f"Remove its folder by hand: {cache.folder}",
        )
    if len(chosen) == len(files):
        strategy = scanned.delete_revisions(*(rev.commit_hash for repo in repos for rev in repo.revisions))
    else:
        strategy = scanned.delete_files(*chosen)
    try:
        strategy.execute()
    except OSError as error:
        raise ModelLoadError(f"{error.filename!r} cannot be removed: {error.strerror}.") from error
    if stuck := [path for path in wanted if os.path.lexists(path)]:
        raise ModelLoadError(
            f"{str(stuck[0])!r} cannot be removed.", hint="Check the permissions of the folders around it."
        )
    return int(strategy.expected_freed_size)


def _not_of_the_hub(name: str) -> ModelLoadError:
    if name in PACKAGED:
        packages = " ".join(sorted({package for package, _file in PACKAGED[name].parts}))
        return ModelLoadError(
            f"{name!r} is a packaged model, and rm removes only what came from the hub.",
            hint=f"Uninstall it with: pip uninstall {packages.replace('_', '-')}",
        )
    if is_path(name):
        return ModelLoadError(
            f"{name!r} is a file of yours, and rm removes only what came from the hub.",
            hint="Delete it as you would any other file.",
        )
    return unknown_name(name)
