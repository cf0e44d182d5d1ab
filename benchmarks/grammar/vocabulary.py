"""A packaged model's vocabulary for llguidance."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, cast

from engine.backend.llama_model import LlamaModel, lib
from engine.grammar.tokenizer import tokenizer_of
from engine.models.packaged import PACKAGED, packaged_file

if TYPE_CHECKING:
    from llguidance import LLTokenizer

_CONTROL = 8
"""llama.cpp's number for an attribute of tokens."""


def packaged_model(name: str) -> LlamaModel:
    """Load a packaged model."""
    return LlamaModel(packaged_file(name, PACKAGED[name]))


def vocabulary_of(model: LlamaModel, *, native: bool = True) -> LLTokenizer:
    """Return the tokenizer for a model."""
    tokens = range(model.info.n_vocab)
    function = ctypes.cast(cast("Any", lib).llama_cpp._lib.llama_tokenize, ctypes.c_void_p).value
    return tokenizer_of(
        [model.piece(token) for token in tokens],
        special={token for token in tokens if lib.llama_vocab_get_attr(model.vocab, token) & _CONTROL},
        ends=model.info.eog_tokens,
        tokenize=lambda text: model.tokenize(text, add_special=False),
        native=(model.vocab, function) if native and function else None,
    )
