"""What the verbs print on: consoles, the log, and text that cannot steer a terminal."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Iterable

out = Console(highlight=False, soft_wrap=True)
"""Standard output."""

_CONTROL: Final = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: "\N{SYMBOL FOR DELETE}",
    **dict.fromkeys(range(0x80, 0xA0), "\N{REPLACEMENT CHARACTER}"),
}
"""Each control character -> what is shown: Unicode has pictures of those of ASCII, from U+2400 on."""


def harmless(text: str) -> str:
    r"""Return a text whose control characters are shown instead of obeyed; line breaks and tabs stay.

    >>> harmless("a\x1b[2Jb")
    'a␛[2Jb'
    """
    return text.translate(_CONTROL)


def write(text: str) -> None:
    """Write a model's text at once: as it is into a file or a pipe, harmless on a terminal."""
    sys.stdout.write(harmless(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def write_json(value: Any) -> None:
    """Write a value as indented JSON."""
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False))


def configure_logging(level: str, handler: logging.Handler | None = None) -> None:
    """Send what is logged to standard error, or to a handler."""
    logging.basicConfig(
        level=level.upper(),
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        handlers=[handler or logging.StreamHandler()],
    )
    logging.getLogger("uvicorn.error").setLevel("WARNING")  # its start-up lines say what ours have said


def quiet_logging() -> None:
    """Log nothing: a failure is told once, when the command ends."""
    configure_logging("critical")


def columns(rows: Iterable[Iterable[str]], *, gap: str = "  ") -> list[str]:
    """Return rows as lines whose cells stand below each other."""
    table = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        gap.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
    ]
