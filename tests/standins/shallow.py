"""A GGUF file with only the first layers of a model: real llama.cpp, real vocabulary, a tenth of the time."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value, by the number that GGUF has for its type."""
_STRING, _ARRAY = 8, 9
_ALIGNMENT = 32


class _Tensor(NamedTuple):
    layer: int
    """-1 for what belongs to none."""
    described: bytes
    """Name, shape and type, as they stand in the file."""
    offset: int


class _Reader:
    """Goes through the head of a GGUF file."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 8  # behind the magic and the version

    def number(self, form: str) -> int:
        (value,) = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += struct.calcsize(f"<{form}")
        return int(value)

    def string(self) -> bytes:
        end = self.number("Q") + self.at
        start, self.at = self.at, end
        return self.data[start:end]

    def skip(self, kind: int) -> None:
        if kind == _STRING:
            self.string()
        elif kind == _ARRAY:
            of, count = self.number("I"), self.number("Q")
            for _ in range(count):
                self.skip(of)
        else:
            self.at += _SIZES[kind]

    def tensor(self) -> _Tensor:
        start, name = self.at, self.string().decode()
        n_dimensions = self.number("I")
        self.at += 8 * n_dimensions + 4  # and its type
        layer = int(name.split(".")[1]) if name.startswith("blk.") else -1
        return _Tensor(layer, self.data[start : self.at], self.number("Q"))


def cut(source: Path, target: Path, n_layers: int) -> None:
    """Write a model's first layers, and all that is not a layer, into a file of their own."""
    reader = _Reader(source.read_bytes())
    n_tensors, n_pairs = reader.number("Q"), reader.number("Q")
    pairs, count_at = reader.at, 0
    for _ in range(n_pairs):
        is_count = reader.string().endswith(b".block_count")
        kind = reader.number("I")
        count_at = reader.at if is_count else count_at
        reader.skip(kind)
    metadata = bytearray(reader.data[pairs : reader.at])
    struct.pack_into("<I", metadata, count_at - pairs, n_layers)
    tensors = [reader.tensor() for _ in range(n_tensors)]
    weights = reader.data[_aligned(reader.at) :]
    ends = dict(zip((tensor.offset for tensor in tensors), [t.offset for t in tensors[1:]], strict=False))
    described, kept = b"", b""
    for tensor in tensors:
        if tensor.layer < n_layers:
            described += tensor.described + struct.pack("<Q", len(kept))
            kept += weights[tensor.offset : ends.get(tensor.offset)]
            kept += bytes(_aligned(len(kept)) - len(kept))
    n_saved = sum(tensor.layer < n_layers for tensor in tensors)
    head = reader.data[:8] + struct.pack("<QQ", n_saved, n_pairs) + metadata + described
    target.write_bytes(head + bytes(_aligned(len(head)) - len(head)) + kept)


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
