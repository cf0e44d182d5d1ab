"""Digests of model files: computed once for each file, and remembered."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from engine.models.notes import Note

if TYPE_CHECKING:
    from pathlib import Path

_KIND: Final = "digests"
_SHA256_LENGTH: Final = 64
_BLOCK: Final = 1 << 20


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's contents, in hexadecimal."""
    known = known_sha256(path)
    if known is not None:
        return known
    digest = digest_like("0" * _SHA256_LENGTH, path)
    remember_digest(path, digest)
    return digest


def known_sha256(path: Path) -> str | None:
    """Return the SHA-256 of a file if it has been computed before, as long as the file has not changed."""
    return Note(_KIND, path).read()


def remember_digest(path: Path, digest: str) -> None:
    """Note a digest that a file was found to have, if it is a SHA-256."""
    if len(digest) == _SHA256_LENGTH:
        Note(_KIND, path).write(digest)


def digest_like(known: str, path: Path) -> str:
    """Return a file's digest of the same kind as ``known``.

    It is a SHA-256 for large files on the hub, and for small ones the SHA-1 that git has for them.
    """
    if len(known) == _SHA256_LENGTH:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def has_digest(path: Path, known: str) -> bool:
    """Return True if a file has a digest; that of a large file is computed once, and remembered."""
    return (sha256_of(path) if len(known) == _SHA256_LENGTH else digest_like(known, path)) == known
