"""Bearer keys, checked the same way at both doors."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from engine.errors import AuthenticationError, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable
    from pathlib import Path


class ApiKeys:
    """The keys that a server accepts; without any, it accepts everybody.

    Args:
        keys: Keys as clients send them behind ``Bearer``; empty ones are ignored.
    """

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._digests = [_digest(key) for key in keys if key]

    @property
    def is_empty(self) -> bool:
        """True if every client is accepted."""
        return not self._digests

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


def caller_of(host: str, header: str | None) -> Hashable:
    """Return what identifies a client for taking turns: its address and its ``authorization`` header."""
    return host, _digest(header or "")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
