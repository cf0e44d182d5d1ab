"""Where a verb's text comes from: the argument, a file, or standard input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.errors import InvalidRequestError

if TYPE_CHECKING:
    from typing import BinaryIO

MAX_BYTES = 64 << 20
"""Most bytes that are read: a text beyond any context is a mistake."""

FileOption = Annotated[
    Path | None,
    typer.Option("--file", "-f", metavar="FILE", help="Read it from a file instead.", show_default=False),
]


def given_text(argument: str | None, file: Path | None, *, name: str) -> str:
    """Return the text that was given, without the line break that ends a file or a pipe.

    Args:
        argument: The text; ``-`` for standard input, which is also read if nothing is given and no person
            would have to type it.
        file: The file to read, or None.
        name: What the text is called in an error.

    Raises:
        InvalidRequestError: none is given, or two are, or it is too long or not UTF-8.
        OSError: the file cannot be read.
    """
    if file is not None:
        if argument is not None:
            raise InvalidRequestError(f"{name} and --file should not be given together.", param=name)
        with file.open("rb") as stream:
            return _read(stream, str(file))
    if argument is not None and argument != "-":
        return argument
    is_piped = argument == "-" or not sys.stdin.isatty()
    text = _read(sys.stdin.buffer, "standard input") if is_piped else ""
    if argument is None and not text:
        raise InvalidRequestError(
            f"{name} is required: as an argument, as - to read standard input, or with --file.", param=name
        )
    return text


def _read(stream: BinaryIO, name: str) -> str:
    data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InvalidRequestError(f"{name} should have at most {MAX_BYTES} bytes.", param=name)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequestError(
            f"{name} is not UTF-8: byte {error.start} is {data[error.start : error.start + 1]!r}.", param=name
        ) from None
    return text.removesuffix("\n").removesuffix("\r")
