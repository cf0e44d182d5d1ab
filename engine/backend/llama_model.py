"""A model file loaded by llama.cpp: its weights, its vocabulary, and what it says about itself."""

from __future__ import annotations

import ctypes
import logging
import os
import weakref
from typing import TYPE_CHECKING, Any

# llama.cpp's threads wait for each other some hundred times a token, and libgomp spins for milliseconds while
# they wait. Where another program wants the core too, spinning steals time from the very thread that the
# others wait for (docs/notes/performance.md has figures). This must be set before the library is loaded; a
# value that the user has set stays.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import llama_cpp as lib

from engine.backend.base import GapTokens, ModelInfo
from engine.errors import ModelLoadError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["LlamaModel", "lib", "supports_gpu"]

log = logging.getLogger("nucleus.llama")


def _on_log(_level: int, text: bytes, _user: object) -> None:
    """Whatever llama.cpp says, also of errors: those that matter come back as return codes."""
    log.debug("%s", text.decode("utf-8", "replace").rstrip())


# llama.cpp keeps the pointer, so the callback must live as long as the process.
_LOG_CALLBACK = lib.llama_log_callback(_on_log)


def supports_gpu() -> bool:
    """Return True if this llama.cpp was built with a GPU backend that found a device."""
    return bool(lib.llama_supports_gpu_offload())


class LlamaModel:
    """The weights and the vocabulary: read-only, and safe to use from any thread."""

    def __init__(self, path: Path, *, n_gpu_layers: int = 0) -> None:
        lib.llama_log_set(_LOG_CALLBACK, None)
        lib.llama_backend_init()
        params = lib.llama_model_default_params()
        params.n_gpu_layers = n_gpu_layers
        self.handle: Any = lib.llama_model_load_from_file(str(path).encode(), params)
        if not self.handle:
            raise ModelLoadError(
                f"llama.cpp cannot load {path}: the file is damaged, or of a kind this build does not know.",
                hint="`nucleus serve --log-level debug` shows what llama.cpp says.",
            )
        # Freed with the object and not before: other threads tokenize for as long as they can reach it.
        # Not at exit either, where the engine thread may still be decoding.
        weakref.finalize(self, lib.llama_model_free, self.handle).atexit = False
        self.vocab: Any = lib.llama_model_get_vocab(self.handle)
        self.info = _describe(self.handle, self.vocab)
        self.cell_bytes = _cell_bytes(self.handle)
        """Bytes that one token takes in the KV cache, or 0 where the model does not tell."""
        self.can_cut = not (
            lib.llama_model_is_recurrent(self.handle) or lib.llama_model_is_hybrid(self.handle)
        )
        """Whether the memory of a text can be cut at any token; a recurrent state cannot."""

    def tokenize(self, text: str, *, add_special: bool = True) -> list[int]:
        raw = text.encode()
        capacity = len(raw) + 2  # never more tokens than bytes, and at most a BOS and an EOS
        ids = (lib.llama_token * capacity)()
        count = lib.llama_tokenize(self.vocab, raw, len(raw), ids, capacity, add_special, True)
        if count < 0:
            ids = (lib.llama_token * -count)()
            count = lib.llama_tokenize(self.vocab, raw, len(raw), ids, -count, add_special, True)
        return list(ids[:count])

    def piece(self, token: int, *, special: bool = False) -> bytes:
        buffer = ctypes.create_string_buffer(64)
        size = lib.llama_token_to_piece(self.vocab, token, buffer, 64, 0, special)
        if size < 0:
            buffer = ctypes.create_string_buffer(-size)
            size = lib.llama_token_to_piece(self.vocab, token, buffer, -size, 0, special)
        return buffer.raw[:size]

    def apply_chat_template(self, messages: Sequence[tuple[str, str]]) -> str | None:
        if self.info.chat_template is None:
            return None
        encoded = [(role.encode(), content.encode()) for role, content in messages]
        chat = (lib.llama_chat_message * len(encoded))(*(lib.llama_chat_message(*pair) for pair in encoded))
        template = self.info.chat_template.encode()
        size = 256 + 2 * sum(len(role) + len(content) for role, content in encoded)
        for _ in range(2):  # the first answer may say that the buffer is too small
            buffer = ctypes.create_string_buffer(size)
            needed = lib.llama_chat_apply_template(template, chat, len(encoded), True, buffer, size)
            if needed <= size:
                return buffer.raw[:needed].decode() if needed >= 0 else None
            size = needed
        return None


def _describe(model: Any, vocab: Any) -> ModelInfo:
    text = ctypes.create_string_buffer(256)
    lib.llama_model_desc(model, text, 256)
    n_vocab = int(lib.llama_vocab_n_tokens(vocab))
    template = lib.llama_model_chat_template(model, None)
    return ModelInfo(
        description=text.value.decode("utf-8", "replace"),
        n_vocab=n_vocab,
        n_ctx_train=int(lib.llama_model_n_ctx_train(model)),
        n_bytes=int(lib.llama_model_size(model)),
        bos_token=_token_or_none(lib.llama_vocab_bos(vocab)),
        eos_token=_token_or_none(lib.llama_vocab_eos(vocab)),
        pad_token=_token_or_none(lib.llama_vocab_pad(vocab)),
        eog_tokens=frozenset(token for token in range(n_vocab) if lib.llama_vocab_is_eog(vocab, token)),
        chat_template=template.decode("utf-8", "replace") if template else None,
        gap_tokens=_gap_tokens(vocab),
    )


def _gap_tokens(vocab: Any) -> GapTokens | None:
    tokens = lib.llama_vocab_fim_pre(vocab), lib.llama_vocab_fim_suf(vocab), lib.llama_vocab_fim_mid(vocab)
    return GapTokens(*map(int, tokens)) if min(tokens) >= 0 else None


def _cell_bytes(model: Any) -> int:
    """Half-precision keys and values of every layer; a model with a key of its own per head says how long."""
    n_embd, n_head = int(lib.llama_model_n_embd(model)), int(lib.llama_model_n_head(model))
    architecture = _metadata(model, "general.architecture")
    length = _metadata(model, f"{architecture}.attention.key_length")
    head = int(length) if length and length.isdigit() else n_embd // max(n_head, 1)
    return int(lib.llama_model_n_layer(model)) * int(lib.llama_model_n_head_kv(model)) * head * 2 * 2


def _metadata(model: Any, key: str) -> str | None:
    value = ctypes.create_string_buffer(256)
    size = lib.llama_model_meta_val_str(model, key.encode(), value, 256)
    return value.value.decode("utf-8", "replace") if size >= 0 else None


def _token_or_none(token: int) -> int | None:
    return int(token) if token >= 0 else None
