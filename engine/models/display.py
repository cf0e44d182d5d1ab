"""Sizes and foreign texts, as a person reads them in a terminal."""

from __future__ import annotations

_LONGEST = 100


def format_size(n_bytes: int) -> str:
    """Return a size for a person.

    >>> format_size(92_300_000), format_size(1_240_000_000), format_size(640)
    ('92 MB', '1.2 GB', '640 bytes')
    """
    if n_bytes >= 1e9:
        return f"{n_bytes / 1e9:.1f} GB"
    return f"{n_bytes / 1e6:.0f} MB" if n_bytes >= 5e5 else f"{n_bytes} bytes"


def printable(text: str) -> str:
    r"""Return a text that a file or a hub has written as one short line that is safe to show.

    >>> printable("x\x1b[2J\nx")
    'x [2J x'
    """
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:_LONGEST]
