"""The hub's cache on this machine: where the files of a repository lie, whole and half.

The layout is that of huggingface_hub, which other programs use too: ``blobs/`` has the contents under their
digests, and ``snapshots/COMMIT/`` has links with the names; ``refs/main`` says which commit is the newest. A
half file has the suffix ``.incomplete``; a file gets its name in ``blobs/`` once it is known to be whole.
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_BLOB: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_PREFIX: Final = "models--"
_LOCK_PATIENCE_S: Final = 0.1
"""How long a download waits for another program's before it says so."""


def cache_root() -> Path:
    """Return the folder of the cache; HF_HUB_CACHE and HF_HOME say where it is."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def free_bytes(folder: Path) -> int | None:
    """Return the bytes that are free where a folder is, or will be; None if nobody knows."""
    for place in (folder, *folder.absolute().parents):
        with suppress(OSError):
            return shutil.disk_usage(place).free
    return None


def size_of(path: Path) -> int | None:
    """Return the bytes of a file, or None if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return None


class RepositoryCache:
    """What the cache has of one repository.

    Args:
        repo: ``user/name``, of letters, digits, dots, dashes and underscores.
    """

    def __init__(self, repo: str) -> None:
        self.repo = repo
        self.root = cache_root()
        self.folder = self.root / f"{_PREFIX}{repo.replace('/', '--')}"

    @classmethod
    def all(cls) -> list[RepositoryCache]:
        """Return the repositories of models that have a place in the cache, by name."""
        folders = sorted(path.name for path in cache_root().glob(f"{_PREFIX}*") if path.is_dir())
        return [cls(name.removeprefix(_PREFIX).replace("--", "/", 1)) for name in folders]

    def snapshot(self, commit: str) -> Path:
        """Return the folder of a commit, which has its files under their names."""
        return self.folder / "snapshots" / commit

    def pointer(self, commit: str, name: str) -> Path:
        """Return where a file of a commit has its name."""
        return self.snapshot(commit) / name

    def blob(self, digest: str) -> Path:
        """Return where the contents with a digest lie."""
        return self.folder / "blobs" / digest

    def partial(self, digest: str) -> Path:
        """Return where they lie as long as they are not whole."""
        return self.folder / "blobs" / f"{digest}.incomplete"

    def partials(self) -> list[Path]:
        """Return all files that are not whole."""
        return sorted((self.folder / "blobs").glob("*.incomplete"))

    def snapshots(self) -> list[Path]:
        """Return the folders of commits, the one that ``main`` stands for first, then the newest."""
        try:
            newest = (self.folder / "refs" / "main").read_text().strip()
        except (OSError, UnicodeDecodeError):
            newest = ""
        folders = [path for path in (self.folder / "snapshots").glob("*") if _COMMIT.fullmatch(path.name)]
        return sorted(folders, key=lambda path: (path.name != newest, -path.stat().st_mtime))

    def models(self, snapshot: Path) -> list[str]:
        """Return the names of a commit's whole GGUF files."""
        found = (path for path in snapshot.rglob("*.gguf") if path.is_file())
        return sorted(path.relative_to(snapshot).as_posix() for path in found)

    def set_main(self, commit: str) -> None:
        """Note that ``main`` stands for a commit."""
        ref = self.folder / "refs" / "main"
        ref.parent.mkdir(parents=True, exist_ok=True)
        fresh = ref.with_name(f"main.{os.getpid()}.tmp")
        fresh.write_text(commit)
        fresh.replace(ref)

    def link(self, digest: str, commit: str, name: str) -> Path:
        """Give contents that are whole the name that they have in a commit, and return it."""
        blob, pointer = self.blob(digest), self.pointer(commit, name)
        pointer.parent.mkdir(parents=True, exist_ok=True)
        fresh = pointer.with_name(f".{digest[:16]}.{os.getpid()}.tmp")
        try:
            fresh.symlink_to(os.path.relpath(blob, pointer.parent))
        except OSError:  # a file system without links, as on some USB sticks
            blob.replace(pointer)
        else:
            fresh.replace(pointer)
        return pointer

    @contextmanager
    def lock(self, digest: str, say: Callable[[str], None]) -> Iterator[None]:
        """Wait until no other program fetches the same contents; huggingface_hub has the same lock."""
        from huggingface_hub.utils import WeakFileLock

        path = self.root / ".locks" / self.folder.name / f"{digest}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            try:
                held.enter_context(WeakFileLock(path, timeout=_LOCK_PATIENCE_S))
            except TimeoutError:
                say("Another program fetches the same file; waiting for it.")
                held.enter_context(WeakFileLock(path))
            yield


def digest_in_name(pointer: Path) -> str | None:
    """Return the digest that a cached file should have, as the name of its contents says, or None."""
    try:
        name = Path(os.readlink(pointer)).name
    except OSError:
        return None
    return name if _BLOB.fullmatch(name) else None
