"""Tokens on a terminal, shaded by how probable the model found them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from rich.text import Text

from engine.commands.terminal import harmless

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import Console

    from engine.contract.responses import Choice

_SHADES: Final = (
    (0.9, ""),
    (0.5, "black on #fff3b0"),
    (0.2, "black on #ffd08a"),
    (0.05, "black on #ff9e80"),
    (0.0, "bold black on #f2635f"),
)
"""Least probability -> style: the less probable, the darker, for those who do not tell the colours apart."""


def is_shaded(console: Console) -> bool:
    """Return True if tokens can be shaded: on a terminal that may have colours."""
    return console.is_terminal and not console.no_color and console.color_system is not None


class ShadedText:
    """The text of one choice as it grows, piece by piece, each token in its shade."""

    def __init__(self) -> None:
        self._end: int | None = None
        """Characters from the start of the prompt; None before the first piece."""

    def piece(self, choice: Choice) -> Text:
        """Return the next piece of the choice."""
        return shaded(self._tokens(choice))

    def _tokens(self, choice: Choice) -> Iterator[tuple[str, float | None]]:
        """Yield the pieces of the text that belong to a token each, with its log-probability.

        A token that ends within a character has no text of its own: its character is the next token's.
        """
        logprobs = choice.logprobs
        if logprobs is None or not logprobs.text_offset:
            yield choice.text, None
            return
        begin = logprobs.text_offset[0] if self._end is None else self._end
        self._end = begin + len(choice.text)
        borders = [*logprobs.text_offset[1:], self._end]
        done = 0
        for border, logprob in zip(borders, logprobs.token_logprobs, strict=True):
            end = min(max(border - begin, done), len(choice.text))
            yield choice.text[done:end], logprob
            done = end


def shaded(tokens: Iterable[tuple[str, float | None]]) -> Text:
    """Return tokens in their shades: pairs of a text and a log-probability."""
    written = Text(end="")
    for text, logprob in tokens:
        style = style_of(logprob)
        lines = harmless(text).split("\n")
        for number, line in enumerate(lines):  # a shaded line break would shade the rest of the line
            written.append("\n" if number else "")
            written.append(line, style=style)
    return written


def style_of(logprob: float | None) -> str:
    """Return the style of a token; none for one whose probability is unknown, as the first of a prompt."""
    if logprob is None:
        return ""
    return next(style for least, style in _SHADES if math.exp(logprob) >= least)


def legend() -> Text:
    """Return what the shades mean."""
    shown = Text("probability ", style="dim")
    for (least, style), above in zip(_SHADES, ("", *_SHADES), strict=False):
        below = f"{above[0]:.0%}" if above else ""
        words = (
            f" {least:.0%} or more " if not above else f" below {below} " if not least else f" {least:.0%} "
        )
        shown.append(words, style=f"not dim {style}" if style else "")
    return shown
