"""The folder in which converted files are made: it goes when the work ends, however that ends."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from engine.errors import InvalidRequestError
from engine.models.display import format_size
from engine.models.packaged import cache_folder

if TYPE_CHECKING:
    from types import TracebackType

_PREFIX: Final = "tune-"
_LOCK: Final = "lock"
_MARGIN: Final = 64 << 20
"""Bytes that stay free."""


class Workspace:
    """A new folder that is locked while it is in use, and removed behind us.

    A process that is killed cannot remove its own: the next one removes what nobody holds locked.

    Args:
        parent: Where it is made; by default in the cache folder, as ``/tmp`` may be memory.

    Raises:
        InvalidRequestError: no folder can be made there.
    """

    def __init__(self, parent: Path | None = None) -> None:
        parent = parent or cache_folder() / "tuning"
        try:
            parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(parent)
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        except OSError as error:
            raise InvalidRequestError(
                f"No temporary files can be made in {str(parent)!r}: {error.strerror}.",
                param="work_dir",
                hint="Name another folder with --work-dir.",
            ) from error
        self._lock = os.open(self.path / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)

    def new_path(self, suffix: str) -> Path:
        """Return the path of a file that is not there yet."""
        self._count += 1
        return self.path / f"{self._count:03}{suffix}"

    def why_no_room(self, n_bytes: int) -> str | None:
        """Return why so many bytes do not fit; None if they do."""
        return why_no_room(self.path, n_bytes)


def why_no_room(folder: Path, n_bytes: int) -> str | None:
    """Return why a file of so many bytes does not fit a folder's disk; None if it does."""
    free = shutil.disk_usage(folder).free
    if n_bytes + _MARGIN <= free:
        return None
    return f"it takes {format_size(n_bytes)}, and of the disk of {folder} {format_size(free)} are free"


def _remove_abandoned(parent: Path) -> None:
    """Remove the folders of processes that were killed."""
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR)
        except OSError:  # without a lock it is nobody's of ours, or one that begins just now
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)
