"""Real rows of logits, where every user of llama.cpp finds them: in the memory of its context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import llama_cpp as lib
import numpy as np

from benchmarks.prompts import PASSAGES
from engine.backend.llama_model import LlamaModel
from engine.loading.hardware import physical_cores

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

N_ROWS = len(PASSAGES)
_MAX_TOKENS = 100


class Rows:
    """A llama.cpp context that decoded the passages, all in one batch, and holds the row that follows each.

    Args:
        path: The GGUF file.
    """

    def __init__(self, path: Path) -> None:
        self._model = model = LlamaModel(path)  # freed with its object, which the context needs to the end
        self.texts = [model.tokenize(text) for text in PASSAGES]
        """The tokens of the passages; the context has at most the first hundred of each."""
        texts = [text[:_MAX_TOKENS] for text in self.texts]
        self.context = _context(model, sum(map(len, texts)))
        self.outputs = _decode(self.context, texts)
        """Where each row's token is in the batch, which is what llama.cpp's functions go by."""
        self.logits: NDArray[np.float32] = np.ctypeslib.as_array(
            lib.llama_get_logits(self.context), shape=(N_ROWS, model.info.n_vocab)
        )
        """float32 ``[N_ROWS, n_vocab]``: the context's own memory, gone when it is closed."""

    def close(self) -> None:
        """Free the context."""
        lib.llama_free(self.context)


def _context(model: LlamaModel, n_tokens: int) -> Any:
    params = lib.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = n_tokens
    params.n_seq_max = params.n_outputs_max = N_ROWS
    params.n_threads = params.n_threads_batch = physical_cores()
    params.kv_unified = True
    params.swa_full = True
    context: Any = lib.llama_init_from_model(model.handle, params)
    if not context:
        raise RuntimeError(f"llama.cpp cannot make a context of {n_tokens} tokens")
    return context


def _decode(context: Any, texts: list[list[int]]) -> list[int]:
    """Decode the texts, each as a sequence of its own; return where their last tokens are in the batch."""
    batch = lib.llama_batch_init(sum(map(len, texts)), 0, 1)
    outputs = []
    for sequence, text in enumerate(texts):
        for position, token in enumerate(text):
            i = batch.n_tokens
            batch.token[i] = token
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = position == len(text) - 1
            batch.n_tokens = i + 1
        outputs.append(batch.n_tokens - 1)
    status = lib.llama_decode(context, batch)
    lib.llama_batch_free(batch)
    if status != 0:
        raise RuntimeError(f"llama_decode returned {status}")
    return outputs
