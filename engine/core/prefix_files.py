"""Saved prefixes in files, so that they outlive the process.

A file has the tokens of a prefix and its part of the cache, with a checksum. All files of one key lie in one
folder: a key stands for the model and for everything that its cache depends on, so that what does not belong
is never looked at. A file gets its name when it is whole. What cannot be read, or is not what was written, is
removed.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
import zlib
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, Field, NonNegativeInt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from engine.backend.base import SavedPrefix

log = logging.getLogger("nucleus.prefixes")

_FORMAT: Final = "nucleus prefix 1"
_LONGEST_HEAD: Final = 1 << 20
_SUFFIX: Final = ".prefix"
_SETTLED_SECONDS: Final = 2.0
"""How long a prefix must have lasted before it is written: most are replaced soon by longer ones."""


class StoredPrefix(NamedTuple):
    """What one file holds."""

    tokens: list[int]
    batch_invariant: bool
    data: SavedPrefix


class _Head(BaseModel):
    """The first line of a file."""

    format: Literal["nucleus prefix 1"]
    batch_invariant: bool
    sizes: list[NonNegativeInt] = Field(min_length=1)
    """Bytes of the tokens, and of each piece of the cache."""
    crc32: int
    """Of all of them."""


class _Pending(NamedTuple):
    entry_id: int
    due: float
    prefix: StoredPrefix


class PrefixFiles:
    """The files of one key; a thread of its own writes and removes them.

    Args:
        folder: Where the folders of all keys are.
        key: What the prefixes depend on, as a name for a folder.
        max_bytes: Most bytes of all files, those of other keys included; the oldest are removed.
    """

    def __init__(self, folder: Path, key: str, max_bytes: int) -> None:
        self._root = folder
        self._folder = folder / key
        self._max_bytes = max_bytes
        self._paths: dict[int, Path] = {}
        self._dropped: set[int] = set()
        self._pending: queue.SimpleQueue[_Pending | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards _paths and _dropped
        self._is_closing = threading.Event()
        self.n_bytes = 0
        """Bytes on disk, of all keys."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._thread = threading.Thread(target=self._work, name="nucleus-prefixes", daemon=True)
        self._thread.start()

    def load(self) -> Iterator[tuple[Path, StoredPrefix]]:
        """Yield what is stored, the least recently written first; remove what is of no use."""
        for path in sorted(self._folder.glob(f"*{_SUFFIX}"), key=_age):
            try:
                yield path, _read(path)
            except (OSError, ValueError) as error:
                log.warning("%s is not used: %s", path, error)
                path.unlink(missing_ok=True)

    def adopt(self, entry_id: int, path: Path) -> None:
        """Note that an entry of the host cache is in a file already."""
        with self._lock:
            self._paths[entry_id] = path

    def put(self, entry_id: int, prefix: StoredPrefix) -> None:
        """Write an entry, unless it is dropped soon."""
        self._pending.put(_Pending(entry_id, time.monotonic() + _SETTLED_SECONDS, prefix))

    def drop(self, entry_id: int) -> None:
        """Remove the file of an entry, or do not write it."""
        with self._lock:
            path = self._paths.pop(entry_id, None)
            if path is None:
                self._dropped.add(entry_id)
        if path is not None:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self._is_closing.set()
        self._pending.put(None)
        self._thread.join()

    def _work(self) -> None:
        self._bound()
        while (pending := self._pending.get()) is not None:
            self._is_closing.wait(pending.due - time.monotonic())
            with self._lock:
                if pending.entry_id in self._dropped:
                    self._dropped.remove(pending.entry_id)
                    continue
            try:
                self._write(pending)
                self._bound()
            except OSError as error:  # the prefix is lost with the process, and nothing else
                log.warning("a prefix cannot be written to %s: %s", self._folder, error)

    def _write(self, pending: _Pending) -> None:
        path = self._folder / f"{os.getpid()}-{time.time_ns()}{_SUFFIX}"
        unfinished = path.with_suffix(".part")
        with unfinished.open("wb") as file:
            for piece in _pieces(pending.prefix):
                file.write(piece)
        unfinished.replace(path)
        with self._lock:
            if pending.entry_id in self._dropped:
                self._dropped.remove(pending.entry_id)
                path.unlink()
            else:
                self._paths[pending.entry_id] = path

    def _bound(self) -> None:
        """Remove the oldest files beyond the bound, and what was never finished."""
        files = sorted(self._root.glob(f"*/*{_SUFFIX}"), key=_age)
        sizes = {path: _size(path) for path in files}
        self.n_bytes = sum(sizes.values())
        for path in files:
            if self.n_bytes <= self._max_bytes:
                break
            path.unlink(missing_ok=True)
            self.n_bytes -= sizes[path]
        for path in self._root.glob("*/*.part"):
            if time.time() - _age(path) > 3600:
                path.unlink(missing_ok=True)


def _pieces(prefix: StoredPrefix) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a file: a line that says what follows, the tokens, and the cache's pieces."""
    tokens = np.array(prefix.tokens, np.int32)
    parts = [tokens.view(np.uint8), *prefix.data]
    checksum = _checksum(parts, batch_invariant=prefix.batch_invariant)
    head = _Head(
        format=_FORMAT,
        batch_invariant=prefix.batch_invariant,
        sizes=[part.size for part in parts],
        crc32=checksum,
    )
    yield head.model_dump_json().encode() + b"\n"
    for part in parts:
        yield part.data


def _read(path: Path) -> StoredPrefix:
    """Read a file.

    Raises:
        ValueError: it is not what was written.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = _Head.model_validate_json(file.readline(_LONGEST_HEAD))
        if sum(head.sizes) != _size(path) - file.tell():
            raise ValueError("it is not whole")
        parts = [np.frombuffer(file.read(size), np.uint8) for size in head.sizes]
    if _checksum(parts, batch_invariant=head.batch_invariant) != head.crc32:
        raise ValueError("its checksum is another one")
    return StoredPrefix(parts[0].view(np.int32).tolist(), head.batch_invariant, tuple(parts[1:]))


def _checksum(parts: list[NDArray[np.uint8]], *, batch_invariant: bool) -> int:
    checksum = int(batch_invariant)
    for part in parts:
        checksum = zlib.crc32(part.data, checksum)
    return checksum


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
