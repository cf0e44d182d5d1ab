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


class _Due(NamedTuple):
    entry_id: int
    at: float


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
        self._waiting: dict[int, StoredPrefix] = {}
        self._due: queue.SimpleQueue[_Due | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards _paths and _waiting
        self._is_closing = threading.Event()
        self.n_bytes = 0
        """Bytes on disk, of all keys."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._thread = threading.Thread(target=self._work, name="nucleus-prefixes", daemon=True)
        self._thread.start()

    def load(self) -> Iterator[tuple[Path, StoredPrefix]]:
        """Yield what is stored, the least recently written first; remove what is of no use."""
        for path in sorted(self._folder.glob(f"*{_SUFFIX}"), key=_age):
            try:
                yield path, _read(path)
            except (OSError, ValueError) as error:
                log.warning("%s is not used: %s", path, error)
                remove(path)

    def adopt(self, entry_id: int, path: Path) -> None:
        """Note that an entry of the host cache is in a file already."""
        with self._lock:
            self._paths[entry_id] = path

    def put(self, entry_id: int, prefix: StoredPrefix) -> None:
        """Write an entry, unless it is dropped soon."""
        with self._lock:
            self._waiting[entry_id] = prefix
        self._due.put(_Due(entry_id, time.monotonic() + _SETTLED_SECONDS))

    def drop(self, entry_id: int) -> None:
        """Remove the file of an entry, or do not write it."""
        with self._lock:
            self._waiting.pop(entry_id, None)
            path = self._paths.pop(entry_id, None)
        if path is not None:
            remove(path)

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self._is_closing.set()
        self._due.put(None)
        self._thread.join()

    def _work(self) -> None:
        self._bound()
        while (due := self._due.get()) is not None:
            self._is_closing.wait(due.at - time.monotonic())
            with self._lock:
                prefix = self._waiting.get(due.entry_id)
            if prefix is None:
                continue
            try:
                path = self._write(prefix)
            except OSError as error:  # the prefix is lost with the process, and nothing else
                log.warning("a prefix cannot be written to %s: %s", self._folder, error)
                path = None
            with self._lock:
                still_wanted = self._waiting.pop(due.entry_id, None) is not None
                if path is not None and still_wanted:
                    self._paths[due.entry_id] = path
            if path is not None and not still_wanted:
                remove(path)
            self._bound()

    def _write(self, prefix: StoredPrefix) -> Path:
        """Write a file that nobody else may read: it holds what users wrote."""
        path = self._folder / f"{os.getpid()}-{time.time_ns()}{_SUFFIX}"
        unfinished = path.with_suffix(".part")
        with open(unfinished, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            for piece in _pieces(prefix):
                file.write(piece)
        return unfinished.replace(path)

    def _bound(self) -> None:
        """Remove the oldest files beyond the bound, and what was never finished."""
        files = sorted(self._root.glob(f"*/*{_SUFFIX}"), key=_age)
        sizes = {path: _size(path) for path in files}
        self.n_bytes = sum(sizes.values())
        for path in files:
            if self.n_bytes <= self._max_bytes:
                break
            remove(path)
            self.n_bytes -= sizes[path]
        for path in self._root.glob("*/*.part"):
            if time.time() - _age(path) > 3600:
                remove(path)


def remove(path: Path) -> None:
    """Remove a file; one that cannot be removed is in nobody's way."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s cannot be removed: %s", path, error)


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
