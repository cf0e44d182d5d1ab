"""Models from the hub to the cache, checked to the last byte.

A half file stays for the next run. The digest of a whole one is compared with that which the hub gives, and
only then has the cache a file of that name; huggingface_hub compares the length alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.errors import ModelLoadError
from engine.models.digests import digest_like, has_digest, known_sha256, remember_digest
from engine.models.display import format_size
from engine.models.download_plan import RESERVE
from engine.models.hub import hub_failure
from engine.models.hub_cache import RepositoryCache, digest_in_name, size_of
from engine.models.transfer import WrongLengthError, receive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from engine.models.download_plan import DownloadPlan
    from engine.models.hub import RemoteFile, RemoteModel


def _say_nothing(_line: str) -> None:
    pass


def download(
    plan: DownloadPlan,
    *,
    tqdm_class: type[Any] | None = None,
    say: Callable[[str], None] = _say_nothing,
    check_cached: bool = False,
) -> Path:
    """Fetch what a plan says is missing, and return the path of the model.

    Args:
        plan: What to do.
        tqdm_class: The class of the progress bars; None for huggingface_hub's own, which are shown in a
            terminal.
        say: Called with a line for whatever takes time or is remarkable.
        check_cached: Whether to compare the digests of files that are in the cache, too.

    Raises:
        ModelLoadError: it cannot be fetched, or is not what the hub says it is. Whatever is not whole stays
            ``.incomplete``, and what is damaged is removed.
    """
    if plan.fits_disk is False:
        raise ModelLoadError(
            f"{plan.repo!r} needs {format_size(plan.n_missing)} more, and the disk of the cache has "
            f"{format_size(plan.free or 0)} free, of which {format_size(RESERVE)} are kept.",
            hint="Free some space (`nucleus rm` removes models), or set HF_HOME to a folder on another disk.",
        )
    cache = RepositoryCache(plan.repo)
    try:
        if plan.remote is None:
            if check_cached:
                _check_without_hub(plan, say)
            return plan.path
        fetch = _Fetch(cache, plan.remote, tqdm_class, say)
        for file in plan.remote.files:
            fetch.bring(file, check_cached=check_cached)
        cache.set_main(plan.commit)
    except ModelLoadError:
        raise
    except Exception as error:
        raise hub_failure(plan.repo, error) from error
    return plan.path


def _check_without_hub(plan: DownloadPlan, say: Callable[[str], None]) -> None:
    for file in plan.files:
        pointer = plan.snapshot / file.name
        digest = digest_in_name(pointer)
        if digest is None or known_sha256(pointer) == digest:
            continue
        say(f"Checking {file.name}")
        if not has_digest(pointer, digest):
            raise ModelLoadError(
                f"{str(pointer)!r} is damaged: its digest is not {digest[:16]}…, as the cache says.",
                hint="Pull it again with the hub at hand: it is replaced.",
            )


@dataclass(frozen=True, slots=True)
class _Fetch:
    """Brings the files of one model into the cache."""

    cache: RepositoryCache
    remote: RemoteModel
    tqdm_class: type[Any] | None
    say: Callable[[str], None]

    def bring(self, file: RemoteFile, *, check_cached: bool) -> None:
        """See to it that a file is in the cache under its name."""
        pointer, blob = self.cache.pointer(self.remote.commit, file.name), self.cache.blob(file.digest)
        if self._is_good(pointer, file, check_cached=check_cached):
            return
        if not self._is_good(blob, file, check_cached=check_cached):
            with self.cache.lock(file.digest, self.say):
                if not self._is_good(blob, file, check_cached=False):  # nobody else was quicker
                    self._fetch(file, blob)
        self.cache.link(file.digest, self.remote.commit, file.name)

    def _is_good(self, path: Path, file: RemoteFile, *, check_cached: bool) -> bool:
        """Return True if a file is there; one that is damaged is removed."""
        size = size_of(path)
        if size is None:
            return False
        reason = f"it has {size} bytes, not {file.n_bytes}"
        if size == file.n_bytes:
            if not check_cached or known_sha256(path) == file.digest:
                return True
            self.say(f"Checking {file.name}")
            if has_digest(path, file.digest):
                return True
            reason = f"its digest is not {file.digest[:16]}…"
        self.say(f"{file.name} in the cache is damaged ({reason}), and is fetched again.")
        target = path.resolve()
        if target.is_relative_to(self.cache.root.resolve()):  # somebody may have linked to a file elsewhere
            target.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        return False

    def _fetch(self, file: RemoteFile, blob: Path) -> None:
        """Receive a file, check it, and give it its name in the cache."""
        partial = self.cache.partial(file.digest)
        partial.parent.mkdir(parents=True, exist_ok=True)
        begun = size_of(partial) or 0
        if begun > file.n_bytes:
            partial.unlink()
            begun = 0
        if begun:
            self.say(f"Going on with {file.name} after {format_size(begun)} of {format_size(file.n_bytes)}")
        self._receive(file, partial)
        self.say(f"Checking {file.name}")
        found = digest_like(file.digest, partial)
        if found == file.digest:
            partial.replace(blob)
            remember_digest(blob, found)
            return
        partial.unlink()
        if not begun:
            raise ModelLoadError(
                f"{file.name!r} of {self.remote.repo!r} came damaged from {self.remote.endpoint}, "
                f"and is removed: its digest is {found[:16]}…, not {file.digest[:16]}….",
                hint="Pull it again; if that does not help, the hub or mirror has another file than it says.",
            )
        self.say(f"{file.name} is damaged, maybe since an earlier run; it is fetched anew.")
        self._fetch(file, blob)

    def _receive(self, file: RemoteFile, partial: Path) -> None:
        from huggingface_hub import constants

        if file.n_bytes > constants.MAX_HTTP_DOWNLOAD_SIZE:
            raise ModelLoadError(
                f"{file.name!r} has {format_size(file.n_bytes)}, more than the hub gives in one download.",
                hint=f"With hf_xet, `hf download {self.remote.repo} {file.name}` brings it into this cache.",
            )
        label = file.name.rpartition("/")[2]
        try:
            receive(
                self.remote.url(file),
                partial,
                file.n_bytes,
                label=label,
                tqdm_class=self.tqdm_class,
                say=self.say,
            )
        except WrongLengthError as error:
            partial.unlink()
            raise ModelLoadError(
                f"{label!r} has {file.n_bytes} bytes, says {self.remote.endpoint} of {self.remote.repo!r}, "
                f"but it sent {error}.",
                hint="Try again; if that does not help, choose another repository or mirror.",
            ) from error
