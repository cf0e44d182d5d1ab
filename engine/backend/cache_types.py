"""The types in which llama.cpp can hold the keys and values of a text, and when it uses flash attention."""

from __future__ import annotations

from typing import Final, Literal

CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]
FlashAttention = Literal["auto", "on", "off"]

DEFAULT_CACHE_TYPE: Final[CacheType] = "f16"

_BLOCK: Final = 32
_BLOCK_BYTES: Final[dict[CacheType, int]] = {
    "f32": 128,
    "f16": 64,
    "bf16": 64,
    "q8_0": 34,
    "q5_1": 24,
    "q5_0": 22,
    "q4_1": 20,
    "q4_0": 18,
}
"""Bytes of 32 values, which is the block that all quantized ones of them have."""


def is_quantized(cache_type: CacheType) -> bool:
    """Return True for a type in blocks; values of such a type need flash attention."""
    return _BLOCK_BYTES[cache_type] < 2 * _BLOCK


def scaled_cell_bytes(cell_bytes: int, cache_type_k: CacheType, cache_type_v: CacheType) -> int:
    """Return the bytes of a cell whose keys and values have other types than half precision.

    >>> scaled_cell_bytes(1024, "q8_0", "q8_0"), scaled_cell_bytes(1024, "f32", "f16")
    (544, 1536)
    """
    share = _BLOCK_BYTES[cache_type_k] + _BLOCK_BYTES[cache_type_v]
    return -(-cell_bytes * share // (2 * _BLOCK_BYTES[DEFAULT_CACHE_TYPE]))
