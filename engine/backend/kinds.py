"""What a loaded model is, where it is none that writes text from left to right."""

from __future__ import annotations

import ctypes
from typing import Any, Final

from engine.backend.llama_log import lib

_ENCODER: Final = "an encoder"
_DRAFTER: Final = "a part of another model, which drafts for it"
_SPEAKER: Final = "a model of speech"
_ARCHITECTURES: Final = {
    "dflash": _DRAFTER,
    "eagle3": _DRAFTER,
    "gemma-embedding": _ENCODER,
    "gemma4-assistant": _DRAFTER,
    "llama-embed": _ENCODER,
    "pockettts": _SPEAKER,
    "qwen3tts": _SPEAKER,
    "t5encoder": _ENCODER,
    "wavtokenizer-dec": _SPEAKER,
}
"""Those that say nothing else about it; all with "bert" in their name are encoders too."""
_NO_VOCABULARY: Final = 0
_UNPOOLED: Final = (None, "-1", "0")
_RANKING: Final = "4"


def why_not_generating(model: Any) -> str | None:
    """Return what a model is that cannot generate text, as ``an encoder``; None if nothing says so.

    llama.cpp computes something for most of them all the same: numbers that mean nothing.
    """
    architecture = metadata(model, "general.architecture") or ""
    kind = _ARCHITECTURES.get(architecture) or (_ENCODER if "bert" in architecture else None)
    return kind or _by_direction(model, architecture) or _by_head(model, architecture)


def _by_direction(model: Any, architecture: str) -> str | None:
    if lib.llama_model_has_encoder(model):
        return "an encoder with a decoder" if lib.llama_model_has_decoder(model) else _ENCODER
    if lib.llama_model_is_diffusion(model):
        return "a diffusion model, which does not write from left to right"
    if metadata(model, f"{architecture}.attention.causal") == "false":
        return _ENCODER
    return None


def _by_head(model: Any, architecture: str) -> str | None:
    pooling = metadata(model, f"{architecture}.pooling_type")
    if pooling == _RANKING or lib.llama_model_cls_label(model, 0) or lib.llama_model_n_cls_out(model) > 1:
        return "a reranking model, or another classifier"
    if pooling not in _UNPOOLED:
        return "an embedding model"
    if lib.llama_vocab_type(lib.llama_model_get_vocab(model)) == _NO_VOCABULARY:
        return "a model without a vocabulary"
    return None


def metadata(model: Any, key: str) -> str | None:
    """Return a value of the file's metadata as text; None if it is not there, or is a list."""
    buffer = ctypes.create_string_buffer(256)
    size = lib.llama_model_meta_val_str(model, key.encode(), buffer, 256)
    return buffer.value.decode("utf-8", "replace") if size >= 0 else None
