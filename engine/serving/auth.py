"""Bearer keys, checked the same way at both doors."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from engine.errors import AuthenticationError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable


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


def caller_of(host: str, header: str | None) -> Hashable:
    """Return what identifies a client for taking turns: its address and its ``authorization`` header."""
    return host, _digest(header or "")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
