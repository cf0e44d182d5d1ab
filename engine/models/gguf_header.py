"""What a GGUF file says about itself, read from its first bytes and without trusting any of them.

The header is a list of keys with values, then a list of tensors with their shapes. It may come from anywhere,
and only its beginning may be there: of a file on the hub, the first megabyte. Nothing is believed before the
bytes for it are there: a count that cannot fit into the file is an error, and what is kept of a value is
small. llama.cpp reads these files too, but some of them end its process; the ``gguf`` package makes an array
of every token, which takes seconds and most of a gigabyte for a large vocabulary.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Container
    from pathlib import Path

Value = int | float | bool | str | tuple[int | float | bool, ...]

GGUF_MAGIC: Final = b"GGUF"
GGUF_HEADER_BYTES: Final = 24  # magic, u32 version, u64 tensor count, u64 metadata count

FIRST_READ: Final = 1 << 20
"""Bytes that hold what most files say about themselves, but for their vocabulary."""
_MOST_READ: Final = 1 << 26
"""Bytes behind which nothing is read: ten times the header of a vocabulary of 262,144 tokens."""
_MOST_KEYS: Final = 1 << 14
_MOST_TENSORS: Final = 1 << 18
_LONGEST_KEY: Final = 1 << 16
_KEPT_TEXT: Final = 1 << 12
_KEPT_LIST: Final = 1 << 12
_MOST_DIMENSIONS: Final = 4
_MOST_WEIGHTS_A_BYTE: Final = 8
_STRING, _ARRAY = 8, 9
_NUMBERS: Final = {
    number: struct.Struct(f"<{code}")
    for number, code in zip((*range(8), 10, 11, 12), "BbHhIif?Qqd", strict=True)
}
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")


class HeaderError(ValueError):
    """The bytes are no header of a GGUF file; the message says why, as ``it lists 9 dimensions``."""


class _NotThereError(Exception):
    """The bytes end before the header does."""


@dataclass(slots=True)
class Header:
    """What was read of a header."""

    version: int = 0
    n_tensors: int = 0
    values: dict[str, Value] = field(default_factory=dict)
    """The values of keys: numbers, texts up to 4,096 bytes, and lists of up to 4,096 numbers."""
    lengths: dict[str, int] = field(default_factory=dict)
    """How long each list is, those of texts too."""
    texts: dict[str, list[str]] = field(default_factory=dict)
    """The lists of texts that were asked for."""
    n_weights: int | None = None
    """The elements of all tensors; None if the bytes end before the list of tensors does."""

    @property
    def is_whole(self) -> bool:
        """Whether the bytes held the whole header."""
        return self.n_weights is not None


def parse_header(data: bytes, n_bytes: int, *, whole: Container[str] = ()) -> Header:
    """Read a header, as much of it as is there.

    Args:
        data: The first bytes of the file.
        n_bytes: The bytes that the whole file has.
        whole: Keys whose lists are kept however long they are, texts too.

    Raises:
        HeaderError: they are not those of a GGUF file of this size.
    """
    header = Header()
    reader = _Reader(data, n_bytes, whole)
    try:
        reader.read(header)
    except _NotThereError:
        if len(data) >= n_bytes:
            raise HeaderError(f"it ends within its header, after {n_bytes} bytes") from None
    return header


def read_header(path: Path, *, whole: Container[str] = ()) -> Header:
    """Read the header of a file.

    Args:
        path: The file.
        whole: As in :func:`parse_header`.

    Raises:
        HeaderError: it is not a GGUF file.
        OSError: it cannot be read.
    """
    n_bytes = path.stat().st_size
    with path.open("rb") as file:
        size = FIRST_READ
        while True:
            file.seek(0)
            header = parse_header(file.read(size), n_bytes, whole=whole)
            if header.is_whole or size >= _MOST_READ:
                return header
            size *= 8


class _Reader:
    """Goes through the bytes once; the position is that of the next byte."""

    def __init__(self, data: bytes, n_bytes: int, whole: Container[str]) -> None:
        self._data = data
        self._n_bytes = n_bytes
        self._whole = whole
        self._position = 0

    def read(self, header: Header) -> None:
        magic = self._take(4)
        if magic != GGUF_MAGIC:
            raise HeaderError(f"it begins with {magic!r}, not {GGUF_MAGIC!r}")
        header.version = self._u32()
        if header.version not in {2, 3}:
            raise HeaderError(f"its version is {header.version}, and only 2 and 3 are known")
        header.n_tensors = self._count("tensors", most=_MOST_TENSORS, least_bytes=24)
        n_keys = self._count("keys", most=_MOST_KEYS, least_bytes=13)
        for _ in range(n_keys):
            self._read_key(header)
        header.n_weights = sum(self._read_tensor() for _ in range(header.n_tensors))

    def _read_key(self, header: Header) -> None:
        key = self._text(_LONGEST_KEY, "a key")
        kind = self._u32()
        if kind == _ARRAY:
            self._read_list(header, key)
        elif kind == _STRING:
            length = self._length(1, "a text")
            if length <= _KEPT_TEXT:
                header.values[key] = self._take(length).decode("utf-8", "replace")
            else:
                self._skip(length)
        else:
            header.values[key] = self._number(kind)

    def _read_list(self, header: Header, key: str) -> None:
        kind = self._u32()
        if kind == _STRING:
            count = header.lengths[key] = self._length(8, "a list of texts")
            if key in self._whole:
                header.texts[key] = [self._text(_KEPT_TEXT, "a text of a list") for _ in range(count)]
            else:
                self._skip_texts(count)
            return
        form = _NUMBERS.get(kind)
        if form is None:
            raise HeaderError(f"{key!r} lists values of the unknown kind {kind}")
        count = header.lengths[key] = self._length(form.size, "a list")
        if count > _KEPT_LIST and key not in self._whole:
            self._skip(count * form.size)
        else:
            header.values[key] = tuple(
                number for (number,) in form.iter_unpack(self._take(count * form.size))
            )

    def _skip_texts(self, count: int) -> None:
        """Go behind a list of texts; it may have half a million."""
        data, position, read = self._data, self._position, _U64.unpack_from
        try:
            for _ in range(count):
                position += 8 + read(data, position)[0]
        except (struct.error, OverflowError, IndexError):
            self._refuse_beyond(position)
            raise _NotThereError from None
        self._position = position
        self._refuse_beyond(position)

    def _read_tensor(self) -> int:
        """Return the elements of a tensor."""
        self._text(_LONGEST_KEY, "a tensor's name")
        n_dimensions = self._u32()
        if n_dimensions > _MOST_DIMENSIONS:
            raise HeaderError(
                f"a tensor of it has {n_dimensions} dimensions, and {_MOST_DIMENSIONS} is the most"
            )
        elements = math.prod(self._u64() for _ in range(n_dimensions))
        if elements > _MOST_WEIGHTS_A_BYTE * self._n_bytes:
            raise HeaderError(
                f"a tensor of it has {elements:.3g} elements, and the file {self._n_bytes} bytes"
            )
        self._skip(12)  # its type, and where it begins
        return elements

    def _number(self, kind: int) -> int | float | bool:
        form = _NUMBERS.get(kind)
        if form is None:
            raise HeaderError(f"it has a value of the unknown kind {kind}")
        number: int | float | bool = form.unpack(self._take(form.size))[0]
        return number

    def _text(self, longest: int, what: str) -> str:
        length = self._length(1, what)
        if length > longest:
            raise HeaderError(f"{what} has {length} bytes, and {longest} is the most")
        return self._take(length).decode("utf-8", "replace")

    def _count(self, what: str, *, most: int, least_bytes: int) -> int:
        count = self._u64()
        if count > min(most, self._n_bytes // least_bytes):
            raise HeaderError(f"it says that it has {count} {what}, in {self._n_bytes} bytes")
        return count

    def _length(self, size: int, what: str) -> int:
        """Return how many elements of at least ``size`` bytes follow; no more than the file can hold."""
        count = self._u64()
        if count * size > self._n_bytes - self._position:
            raise HeaderError(f"{what} has {count} elements, and the file has {self._n_bytes} bytes")
        return count

    def _u32(self) -> int:
        return int(_U32.unpack(self._take(4))[0])

    def _u64(self) -> int:
        return int(_U64.unpack(self._take(8))[0])

    def _skip(self, count: int) -> None:
        self._position += count
        self._refuse_beyond(self._position)

    def _take(self, count: int) -> bytes:
        start, end = self._position, self._position + count
        self._refuse_beyond(end)
        if end > len(self._data):
            raise _NotThereError
        self._position = end
        return self._data[start:end]

    def _refuse_beyond(self, position: int) -> None:
        if position > self._n_bytes:
            raise HeaderError(f"it points to byte {position}, and has {self._n_bytes}")
