"""Files that llama.cpp does not load, or that make it abort."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gguf import TokenType

from tests.kinds import vocabularies
from tests.kinds.files import ModelSpec, llama_shapes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kinds.files import Shapes
    from tests.kinds.vocabularies import Token, Vocabulary

SPM = vocabularies.spm()
_COUNTS = 8
"""Where a file says how many tensors and how many keys it has; the first key follows, its length first."""


def _with_tokens(*tokens: Token) -> Vocabulary:
    more = [*SPM.tokens, *tokens]
    return replace(SPM, tokens=more, scores=[0.0] * len(more))


def _without_a_tensor(n_vocab: int) -> Shapes:
    return {name: shape for name, shape in llama_shapes(n_vocab).items() if name != "blk.1.ffn_up.weight"}


def _spec(**metadata: Any) -> ModelSpec:
    return ModelSpec(SPM, metadata=metadata)


NOT_LOADED = {
    "unknown architecture": (ModelSpec(SPM, "x"), "unknown model architecture: 'x'"),
    "name for a terminal": (ModelSpec(SPM, "x\x1b[2J\nx"), "unknown model architecture: 'x [2J x'"),
    "missing tensor": (ModelSpec(SPM, shapes=_without_a_tensor), "'blk.1.ffn_up.weight' not found"),
    "too many rows": (ModelSpec(SPM, rows=len(SPM) + 8), f"expected 32, {len(SPM)}, got 32, {len(SPM) + 8}"),
    "too few rows": (ModelSpec(SPM, rows=len(SPM) - 8), f"expected 32, {len(SPM)}, got 32, {len(SPM) - 8}"),
    "no heads": (_spec(**{"attention.head_count": 0}), "'blk.0.attn_q.weight' has wrong shape"),
    "unknown pre-tokenizer": (ModelSpec(vocabularies.bpe("new")), "unknown pre-tokenizer type: 'new'"),
    "byte that is none": (ModelSpec(_with_tokens((b"q~", TokenType.BYTE))), "__pos (which is 3)"),
    "no context": (_spec(context_length=0), "trained for 0 tokens of context"),
    "endless context": (_spec(context_length=(1 << 32) - 1), "trained for -1 tokens of context"),
}
"""Files with a fault, and what must be said of it."""

ABORTING = {
    "no layers": (_spec(block_count=0), "when '{}' is loaded", "n_layer_all > 0"),
    "experts": (_spec(expert_used_count=9), "when '{}' is loaded", "GGML_ASSERT(n_expert_used_max"),
    "token twice": (
        ModelSpec(_with_tokens((b"the", TokenType.NORMAL))),
        "when '{}' is loaded",
        "token_to_id",
    ),
    "no bytes": (ModelSpec(vocabularies.spm(has_bytes=False)), "when '{}' tokenizes a text", "::at"),
}
"""Files on which llama.cpp ends the process: what it does then, and a part of its last words."""


def _cut(share: float) -> Callable[[bytes], bytes]:
    return lambda data: data[: int(len(data) * share)]


def _put(offset: int, value: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:offset] + struct.pack("<Q", value) + data[offset + 8 :]


def _put_behind(mark: bytes, value: int) -> Callable[[bytes], bytes]:
    return lambda data: _put(data.index(mark) + len(mark), value)(data)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut in the metadata": _cut(0.02),
    "cut in the weights": _cut(0.9),
    "endless key": _put(_COUNTS + 16, 1 << 62),
    "more tensors than bytes": _put(_COUNTS, (1 << 62) - 1),
    "more keys than bytes": _put(_COUNTS + 8, (1 << 62) - 1),
    "endless list": _put_behind(b"tokenizer.ggml.tokens" + struct.pack("<II", 9, 8), 1 << 61),
    "large list": _put_behind(b"tokenizer.ggml.scores" + struct.pack("<II", 9, 6), 1 << 33),
    "endless text": _put_behind(b"tokenizer.ggml.model" + struct.pack("<I", 8), 1 << 40),
    "tensor behind the end": _put_behind(
        b"blk.0.ffn_up.weight" + struct.pack("<IQQI", 2, 32, 64, 8), 1 << 40
    ),
    "noise": lambda data: data[:24] + bytes(byte ^ 0x5A for byte in data[24:]),
}
"""What may become of a good file on its way."""
