"""llama.cpp through the functions of ``llama_cpp`` itself, so that nothing of the engine's is in its time."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

# First: it settles how long OpenMP's threads spin, which must be the same on both sides.
from engine.backend.llama_model import LlamaModel  # isort: skip

import llama_cpp as lib
import numpy as np

from benchmarks.machine import Elsewhere

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_FED_TOKEN = 100  # any ordinary token: what is fed makes no difference to how long a decode takes


class Context:
    """A context with the engine's parameters, and one batch. Only loading the weights is shared code.

    Args:
        path: The GGUF file.
        n_slots: Most sequences at once.
        n_cells: Tokens that the unified KV cache holds.
        n_batch: Most tokens in one decode.
        n_threads: Threads of llama.cpp.
    """

    def __init__(self, path: Path, n_slots: int, n_cells: int, n_batch: int, n_threads: int) -> None:
        self._model = LlamaModel(path)  # freed with its object, which the context needs to the end
        self.tokenize = self._model.tokenize
        params = lib.llama_context_default_params()
        params.n_ctx = n_cells
        params.n_batch = params.n_ubatch = n_batch
        params.n_seq_max = params.n_outputs_max = n_slots
        params.n_threads = params.n_threads_batch = n_threads
        params.kv_unified = params.swa_full = True
        self.handle: Any = lib.llama_init_from_model(self._model.handle, params)
        if not self.handle:
            raise RuntimeError(f"llama.cpp cannot make a context of {n_cells} tokens")
        self.batch: Any = lib.llama_batch_init(n_batch, 0, 1)
        self._n_batch = n_batch

    def fill(self, tokens: Iterable[tuple[int, int, int, bool]]) -> None:
        """Fill the batch with a slot, a position, a token, and whether its logits are wanted, for each.

        Raises:
            ValueError: there are more tokens than one batch holds.
        """
        batch, count = self.batch, 0
        for slot, position, token, wants_logits in tokens:
            if count == self._n_batch:
                raise ValueError(f"there are more than {self._n_batch} tokens")
            batch.token[count], batch.pos[count], batch.logits[count] = token, position, wants_logits
            batch.n_seq_id[count], batch.seq_id[count][0] = 1, slot
            count += 1
        batch.n_tokens = count

    def decode(self, n_rows: int) -> NDArray[np.float32]:
        """Decode the batch; return float32 ``[n_rows, n_vocab]``, a view of llama.cpp's own memory."""
        if status := lib.llama_decode(self.handle, self.batch):
            raise RuntimeError(f"llama_decode returned {status}")
        shape = n_rows, self._model.info.n_vocab
        return np.ctypeslib.as_array(lib.llama_get_logits(self.handle), shape=shape)

    def close(self) -> None:
        """Free the context."""
        lib.llama_batch_free(self.batch)
        lib.llama_free(self.handle)


class BareTimes(NamedTuple):
    """Seconds that one run took."""

    prefill: float
    decode: float
    elsewhere: float
    """Processors that other programs kept busy meanwhile."""


class BareLoop(Context):
    """A loop around ``llama_decode``: the engine's decodes and nothing else.

    It belongs in a process of its own. llama.cpp computes with OpenMP, whose threads spin while they wait for
    each other; but GNU's library hardly lets them spin once a process has more of them than there are
    processors. The engine and this loop beside it would be two teams, and slow each other down even while one
    of them is idle.
    """

    def run(self, prompts: Sequence[Sequence[int]], n_tokens: int) -> BareTimes:
        """Do what generating ``n_tokens`` for each prompt takes, sampling aside.

        As in the engine, the first token costs no decode: the prompt's last row of logits gives it.
        """
        elsewhere, start, n_slots = Elsewhere(), perf_counter(), len(prompts)
        lib.llama_memory_clear(lib.llama_get_memory(self.handle), False)
        self.fill(
            (slot, position, token, position == len(prompt) - 1)
            for slot, prompt in enumerate(prompts)
            for position, token in enumerate(prompt)
        )
        self.decode(n_slots).max(axis=1)
        prefilled = perf_counter()
        self.fill((slot, len(prompt), _FED_TOKEN, True) for slot, prompt in enumerate(prompts))
        for _ in range(n_tokens - 1):
            self.decode(n_slots).max(axis=1)
            for slot in range(n_slots):
                self.batch.pos[slot] += 1
        return BareTimes(prefilled - start, perf_counter() - prefilled, elsewhere.processors())
