"""How much memory one token takes in the KV cache of a model."""

from __future__ import annotations

from typing import Any

from engine.backend.kinds import metadata
from engine.backend.llama_log import lib


def cell_bytes(model: Any) -> int:
    """Return the bytes that one token takes in the KV cache; 0 where it takes none, or nobody knows.

    They are computed where all layers are alike. A file may list them one by one instead, the first of them
    without attention; then two tokens are decoded.
    """
    if lib.llama_model_is_recurrent(model):
        return 0
    return _computed(model) or _measured(model)


def _computed(model: Any) -> int:
    """Half-precision keys and values of every layer; a model with a key of its own per head says how long."""
    n_embd, n_head = int(lib.llama_model_n_embd(model)), int(lib.llama_model_n_head(model))
    architecture = metadata(model, "general.architecture")
    length = metadata(model, f"{architecture}.attention.key_length")
    head = int(length) if length and length.isdigit() else n_embd // max(n_head, 1)
    return int(lib.llama_model_n_layer(model)) * int(lib.llama_model_n_head_kv(model)) * head * 2 * 2


def _measured(model: Any) -> int:
    params = lib.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = 32
    params.n_threads = params.n_threads_batch = 1
    context = lib.llama_init_from_model(model, params)
    if not context:
        return 0
    sizes = []
    for _ in range(2):
        token = (lib.llama_token * 1)(0)
        lib.llama_decode(context, lib.llama_batch_get_one(token, 1))
        sizes.append(int(lib.llama_state_seq_get_size(context, 0)))
    lib.llama_free(context)
    return sizes[1] - sizes[0]
