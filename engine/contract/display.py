"""How answers look in a notebook: HTML without scripts, for light and dark pages; all text is escaped.

Where there are log-probabilities, each token has a background: none at a probability of 1, full at 0. A
token's title, which a browser shows beside the pointer, has the numbers.
"""

from __future__ import annotations

import codecs
import math
from html import escape
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MAX_SHADED = 5_000
"""Tokens that are shown; a page with a hundred thousand of them would be slow to scroll."""

_SHADE = "217,95,2"  # an orange that people with any colour vision tell from black, white and grey
_STRONGEST = 0.75  # so that text on it can be read, light or dark
_BOX = "white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.6"
_SMALL = "opacity:.7;font-size:85%"
_NEWLINE = '<span style="opacity:.5;user-select:none">↵</span>'  # or its background would have no room


class Piece(NamedTuple):
    """A token as it is shown."""

    text: str
    logprob: float | None = None
    top: Mapping[str, float] | None = None
    """The most probable tokens at its place."""


class ShownChoice(NamedTuple):
    """A choice as it is shown."""

    number: int
    reason: str | None
    text: str
    pieces: Sequence[Piece]
    """The tokens of the text; empty: it has no shades."""


def answer_html(
    model: str, choices: Sequence[ShownChoice], prompt_tokens: int, completion_tokens: int
) -> str:
    """Return an answer with its choices."""
    counted = f"{model} · {prompt_tokens:,} prompt tokens · {completion_tokens:,} completion tokens"
    return f"<div>{choices_html(choices)}{_small(escape(counted))}</div>"


def choices_html(choices: Sequence[ShownChoice]) -> str:
    """Return choices, one below the other, and what their shades mean."""
    has_shades = any(choice.pieces for choice in choices)
    return "".join(map(_choice, choices)) + (_LEGEND if has_shades else "")


def score_html(title: str, texts: Iterable[str], logprobs: Iterable[float | None]) -> str:
    """Return a text that was scored."""
    return f"<div>{_small(escape(title))}{_shaded([*map(Piece, texts, logprobs)])}{_LEGEND}</div>"


def error_html(message: str) -> str:
    """Return what went wrong."""
    return f'<div style="border-left:4px solid rgb({_SHADE});padding-left:.6em">{escape(message)}</div>'


def cut(text: str, offsets: Sequence[int]) -> list[str]:
    """Cut a text into the parts that its tokens have, which are together the text.

    Args:
        text: The text of a choice.
        offsets: Where each token begins, in characters, from any start.
    """
    if not offsets:
        return []
    starts = accumulate((min(max(offset - offsets[0], 0), len(text)) for offset in offsets), max)
    return [text[begin:end] for begin, end in pairwise([*starts, len(text)])]


def decoded(raw: Iterable[bytes]) -> list[str]:
    """Decode the bytes of tokens; a character that several share belongs to the last of them."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return [decoder.decode(piece) for piece in raw]


def decoded_to(text: str, raw: Sequence[bytes]) -> list[str] | None:
    """Cut a text into the parts that its tokens have; None if they are the tokens of another text.

    Args:
        text: The text of a choice; a stop may have cut it.
        raw: The tokens' bytes.
    """
    pieces = decoded(raw)
    if not "".join(pieces).startswith(text):
        return None
    return cut(text, [0, *accumulate(map(len, pieces[:-1]))]) if pieces else []


def _choice(choice: ShownChoice) -> str:
    title = " · ".join(filter(None, (f"choice {choice.number}", choice.reason)))
    text = f'<div dir="auto" style="{_BOX}">{escape(choice.text)}</div>'
    body = _shaded(choice.pieces) if choice.pieces else text
    return f'<div style="margin-bottom:.6em">{_small(escape(title))}{body}</div>'


def _shaded(pieces: Sequence[Piece]) -> str:
    shown = "".join(_span(piece) for piece in pieces[:MAX_SHADED] if piece.text)
    more = len(pieces) - MAX_SHADED
    rest = _small(f"… and {more:,} more tokens") if more > 0 else ""
    return f'<div dir="auto" style="{_BOX}">{shown}</div>{rest}'


def _span(piece: Piece) -> str:
    text = escape(piece.text)
    if piece.logprob is None:
        return f"<span>{text}</span>"
    probability = math.exp(min(piece.logprob, 0.0))
    text = text.replace("\n", f"{_NEWLINE}\n")
    return f'<span title="{_title(piece, probability)}" style="{_background(probability)}">{text}</span>'


def _background(probability: float) -> str:
    return f"border-radius:3px;background:rgba({_SHADE},{_STRONGEST * (1 - probability):.2f})"


def _title(piece: Piece, probability: float) -> str:
    lines = [f"{piece.text!r}: {probability:.2%}, logprob {piece.logprob:.3f}"]
    lines += [f"{token!r}: {math.exp(min(logprob, 0.0)):.2%}" for token, logprob in (piece.top or {}).items()]
    return "&#10;".join(map(escape, lines))


def _small(text: str) -> str:
    return f'<div style="{_SMALL}">{text}</div>'


_LEGEND = '<div style="font-size:85%">probability: {}</div>'.format(
    "".join(
        f'<span style="{_background(share)};padding:0 .4em">{share:.0%}</span>'
        for share in (1, 0.75, 0.5, 0.25, 0)
    )
)
