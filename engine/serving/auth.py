"""Bearer keys, checked the same way at both doors."""

from __future__ import annotations

import hashlib
import hmac
import logging
from typing import TYPE_CHECKING

from engine.errors import AuthenticationError, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable
    from pathlib import Path

log = logging.getLogger("nucleus.keys")


class ApiKeys:
    """The keys that a server accepts; without any, it accepts everybody.

    Args:
        keys: Keys as clients send them behind ``Bearer``; empty ones are ignored.
        file: A file with more of them, which may be replaced while the server runs; see :func:`read_keys`.

    Raises:
        InvalidRequestError: the file cannot be read, or has no key.
    """

    def __init__(self, keys: Iterable[str] = (), file: Path | None = None) -> None:
        self._given = [_digest(key) for key in keys if key]
        self._file = file
        self._file_state = _state_of(file)
        self._digests = self._given + self._digests_in_file()

    @property
    def is_empty(self) -> bool:
        """True if every client is accepted."""
        return not self._digests

    def refresh(self) -> None:
        """Take the file anew if it has changed; if it cannot be used, log why and keep the old keys."""
        state = _state_of(self._file)
        if state == self._file_state:
            return
        self._file_state = state
        try:
            self._digests = self._given + self._digests_in_file()
        except InvalidRequestError as error:
            log.error("the changed keys are not used, and the old ones stay: %s", error)
        else:
            log.info("took %d keys from %s", len(self._digests) - len(self._given), self._file)

    def _digests_in_file(self) -> list[bytes]:
        return [] if self._file is None else [_digest(key) for key in read_keys(self._file)]

    def check(self, header: str | None) -> None:
        """Accept the value of an ``authorization`` header, or refuse it.

        Raises:
            AuthenticationError: the key is missing or wrong.
        """
        if not self._digests:
            return
        scheme, _, key = (header or "").strip().partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise AuthenticationError("An API key is required, as 'Authorization: Bearer sk-...'.")
        # Digests are of equal length and every one is compared, so the time tells nothing about a key.
        given = _digest(key.strip())
        matches = [hmac.compare_digest(given, digest) for digest in self._digests]
        if not any(matches):
            # OpenAI's own words: LiteLLM knows a wrong key by them, and by nothing else.
            raise AuthenticationError("Incorrect API key provided.")


def read_keys(path: Path) -> list[str]:
    """Return the keys in a file, one a line; ``#`` begins a comment.

    Raises:
        InvalidRequestError: the file cannot be read, or has no key: it must not open the server to everybody.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidRequestError(f"--api-key-file cannot be read: {reason} ({path}).") from None
    keys = [key for line in lines if (key := line.partition("#")[0].strip())]
    if not keys:
        raise InvalidRequestError(f"--api-key-file should hold at least one key, and {path} has none.")
    return keys


def _state_of(file: Path | None) -> tuple[int, ...]:
    """Return what changes with a file: it may be written anew, or another one may take its name."""
    try:
        found = None if file is None else file.stat()
    except OSError:  # while it is replaced
        return ()
    return () if found is None else (found.st_mtime_ns, found.st_ino, found.st_size)


def caller_of(host: str, header: str | None) -> Hashable:
    """Return what identifies a client for taking turns: its address and its ``authorization`` header."""
    return host, _digest(header or "")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
