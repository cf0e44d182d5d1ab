"""Where the tokens of a prompt stand in its text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_WINDOW = 64
"""Bytes that a token is looked for in, where it does not follow the one before it."""
_SPACE = b"(?: |\xe2\x96\x81)"
"""SentencePiece takes U+2581 for a space, and a vocabulary without bytes cannot tell them apart."""


class Span(NamedTuple):
    """The bytes of a text that a token stands for; those before it, behind the last token, are nobody's."""

    start: int
    end: int


def align(text: bytes, pieces: Iterable[bytes]) -> Iterator[Span]:
    """Yield the span of each token.

    Nearly every vocabulary writes a text so that the pieces of its tokens are the text. Where one does not
    (it knows no capitals, or has no token for a character), the tokens that are found in the text stand
    there, and the others have an empty span between them.

    Args:
        text: The text.
        pieces: The bytes of each of its tokens; empty for a token that is not written in the text.
    """
    position = 0
    for piece in pieces:
        if text.startswith(piece, position):
            span = Span(position, position + len(piece))
        else:
            span = _found(text, piece, position)
        position = span.end
        yield span


def _found(text: bytes, piece: bytes, position: int) -> Span:
    pattern = _SPACE.join(map(re.escape, piece.split(b" ")))
    if match := re.compile(pattern).match(text, position):
        return Span(*match.span())
    word = re.compile(re.escape(piece.strip(b" ")), re.IGNORECASE)
    if word.pattern and (match := word.search(text, position, position + _WINDOW)):
        return Span(*match.span())
    return Span(position, position)
