"""The tensors of a GGUF file, as llama.cpp's own reader lists them; no weights are read."""

from __future__ import annotations

import ctypes
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from engine.backend.ggml import ggml, type_name, type_number
from engine.errors import ModelLoadError

if TYPE_CHECKING:
    from pathlib import Path

_SPLIT: Final = re.compile(r"(?P<stem>.+-)00001(?P<of>-of-\d{5}\.gguf)", re.ASCII | re.DOTALL)
_OUTPUT: Final = "output.weight"
_EMBEDDING: Final = "token_embd.weight"
_FEW_ROWS: Final = 2
_LAYER: Final = re.compile(r"blk\.\d+\.(?P<name>[a-z0-9_]+)\.weight")
_SMALLEST: Final = 1 << 10
"""Values below which a matrix is left alone: it takes no time."""
_ROLES: Final = {
    "attn_q": "attn_q/k",
    "attn_k": "attn_q/k",
    "attn_qkv": "attn_q/k",
    "attn_v": "attn_v",
    "attn_output": "attn_output",
    "ffn_gate": "ffn_gate/up",
    "ffn_up": "ffn_gate/up",
    "ffn_gate_exps": "ffn_gate/up",
    "ffn_up_exps": "ffn_gate/up",
    "ffn_down": "ffn_down",
    "ffn_down_exps": "ffn_down",
}
OUTPUT_ROLE: Final = "output"
_OTHER: Final = "other"


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor as the file has it."""

    name: str
    type: str
    """Its type in ggml's words, such as ``q4_1``."""
    shape: tuple[int, ...]
    """The length of a row first."""
    role: str | None
    """What a matrix of weights is for; None for what is never converted."""

    @property
    def n_values(self) -> int:
        count = 1
        for length in self.shape:
            count *= length
        return count

    def bytes_as(self, kind: str) -> int:
        """Return its size in a type that its rows can have."""
        return self.n_values // self.shape[0] * _row_bytes(kind, self.shape[0])


def fits(kind: str, row_length: int) -> bool:
    """Return True if rows of such a length can have a type: it is whole blocks."""
    return row_length % int(ggml("ggml_blck_size", ctypes.c_int64, ctypes.c_int)(type_number(kind))) == 0


def read_tensors(path: Path) -> list[Tensor]:
    """Return the tensors of a model; of one that is split over several files, those of all of them.

    Raises:
        ModelLoadError: a file cannot be read.
    """
    listed = [tensor for part in parts_of(path) for tensor in _listed(part)]
    is_tied = all(name != _OUTPUT for name, _kind, _shape in listed)
    return [
        Tensor(name, kind, shape, _role(name, kind, shape, is_tied=is_tied)) for name, kind, shape in listed
    ]


def parts_of(path: Path) -> list[Path]:
    """Return all files of a model, of which the first is named."""
    split = _SPLIT.fullmatch(path.name)
    if split is None:
        return [path]
    count = int(split["of"][len("-of-") :][:5])
    return [path.with_name(f"{split['stem']}{number:05}{split['of']}") for number in range(1, count + 1)]


def _role(name: str, kind: str, shape: tuple[int, ...], *, is_tied: bool) -> str | None:
    """Return what a matrix is for.

    An embedding that is only looked up takes no time in any type. What is in full precision in a file of
    other types was left so on purpose.
    """
    if name == _OUTPUT or (name == _EMBEDDING and is_tied):
        return OUTPUT_ROLE
    layer = _LAYER.fullmatch(name)
    if layer is None or len(shape) < _FEW_ROWS or "norm" in name:
        return None
    known = _ROLES.get(layer["name"])
    if known is None and (kind == "f32" or shape[0] * shape[1] < _SMALLEST):
        return None
    return known or _OTHER


def _listed(path: Path) -> list[tuple[str, str, tuple[int, ...]]]:
    handle = ggml("gguf_init_from_file", ctypes.c_void_p, ctypes.c_char_p, _InitParams)(
        os.fsencode(path), _InitParams(no_alloc=True)
    )
    if not handle:
        raise ModelLoadError(f"llama.cpp cannot list the tensors of {str(path)!r}.")
    by_index = ctypes.c_void_p, ctypes.c_int64
    name_of = ggml("gguf_get_tensor_name", ctypes.c_char_p, *by_index)
    type_of = ggml("gguf_get_tensor_type", ctypes.c_int, *by_index)
    lengths_of = ggml("gguf_get_tensor_ne", ctypes.POINTER(ctypes.c_int64), *by_index)
    try:
        count = ggml("gguf_get_n_tensors", ctypes.c_int64, ctypes.c_void_p)(handle)
        return [
            (
                name_of(handle, i).decode("utf-8", "replace"),
                type_name(type_of(handle, i)),
                _without_ones(lengths_of(handle, i)[:4]),
            )
            for i in range(count)
        ]
    finally:
        ggml("gguf_free", None, ctypes.c_void_p)(handle)


def _without_ones(lengths: list[int]) -> tuple[int, ...]:
    """Return the lengths without those of dimensions that are not there, which are 1."""
    while len(lengths) > 1 and lengths[-1] == 1:
        lengths = lengths[:-1]
    return tuple(lengths)


def _row_bytes(kind: str, length: int) -> int:
    return int(
        ggml("ggml_row_size", ctypes.c_size_t, ctypes.c_int, ctypes.c_int64)(type_number(kind), length)
    )


class _InitParams(ctypes.Structure):
    _fields_ = (("no_alloc", ctypes.c_bool), ("context", ctypes.c_void_p))
