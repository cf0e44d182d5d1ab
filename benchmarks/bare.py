"""llama.cpp alone: the same decodes as the engine's and nothing else, the yardstick of the throughput table.

It calls the functions of ``llama_cpp`` itself instead of :class:`engine.backend.llama.LlamaBackend`, so that
the backend's own cost is on the engine's side of the comparison and a mistake in it cannot hide on both. Only
loading the weights is shared code.

It runs in a process of its own. llama.cpp computes with OpenMP, whose threads spin while they wait for each
other; but GNU's library hardly lets them spin once a process has more of them than there are processors. The
engine and a bare loop beside it would be two teams, and slow each other down even while one of them is idle.
"""

from __future__ import annotations

import multiprocessing
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

# First: it settles how long OpenMP's threads spin, which must be the same on both sides.
from engine.backend.llama_model import LlamaModel  # isort: skip

import llama_cpp as lib
import numpy as np

from benchmarks.report import Elsewhere

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection
    from pathlib import Path

    from numpy.typing import NDArray

_FED_TOKEN = 100  # any ordinary token: what is fed makes no difference to how long a decode takes


class BareTimes(NamedTuple):
    """Seconds that one run took."""

    prefill: float
    decode: float
    elsewhere: float | None
    """Processors that other programs kept busy meanwhile."""

    @property
    def total(self) -> float:
        """Both phases."""
        return self.prefill + self.decode


class BareLoop:
    """A loop around ``llama_decode`` with the engine's context parameters.

    Args:
        path: The GGUF file.
        n_slots: Most sequences at once.
        n_cells: Tokens that the unified KV cache holds.
        n_batch: Most tokens in one decode.
        n_threads: Threads of llama.cpp.
    """

    def __init__(self, path: Path, *, n_slots: int, n_cells: int, n_batch: int, n_threads: int) -> None:
        self.model = LlamaModel(path)
        self._n_batch = n_batch
        params = lib.llama_context_default_params()
        params.n_ctx = n_cells
        params.n_batch = params.n_ubatch = n_batch
        params.n_seq_max = params.n_outputs_max = n_slots
        params.n_threads = params.n_threads_batch = n_threads
        params.kv_unified = True
        params.swa_full = True
        self._context: Any = lib.llama_init_from_model(self.model.handle, params)
        if not self._context:
            raise RuntimeError(f"llama.cpp cannot make a context of {n_cells} tokens")
        self._memory = lib.llama_get_memory(self._context)
        self._batch: Any = lib.llama_batch_init(n_batch, 0, 1)

    def run(self, prompts: Sequence[Sequence[int]], n_tokens: int) -> BareTimes:
        """Do what generating ``n_tokens`` for each prompt takes, sampling aside.

        As in the engine, the first token costs no decode: the prompt's last row of logits gives it.
        """
        watch, start = Elsewhere(), perf_counter()
        self._prefill(prompts).max(axis=1)
        prefilled = perf_counter()
        self._decode_fixed([len(prompt) for prompt in prompts], n_tokens - 1)
        return BareTimes(prefilled - start, perf_counter() - prefilled, watch.processors())

    def tokenize(self, text: str) -> list[int]:
        """Return the token ids of ``text``."""
        return self.model.tokenize(text)

    def close(self) -> None:
        """Free the context."""
        lib.llama_batch_free(self._batch)
        lib.llama_free(self._context)

    def _prefill(self, prompts: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Decode the prompts into an empty cache; return the logits of their last tokens, a view.

        Raises:
            ValueError: the prompts are more tokens than one batch.
        """
        if sum(map(len, prompts)) > self._n_batch:
            raise ValueError(f"the prompts have more than {self._n_batch} tokens")
        lib.llama_memory_clear(self._memory, False)
        self._batch.n_tokens = 0
        for slot, prompt in enumerate(prompts):
            for position, token in enumerate(prompt):
                self._add(slot, position, token, wants_logits=position == len(prompt) - 1)
        return self._decode(len(prompts))

    def _decode_fixed(self, lengths: Sequence[int], steps: int) -> None:
        self._batch.n_tokens = 0
        for slot, length in enumerate(lengths):
            self._add(slot, length, _FED_TOKEN, wants_logits=True)
        for _ in range(steps):
            self._decode(len(lengths)).max(axis=1)
            for slot in range(len(lengths)):
                self._batch.pos[slot] += 1

    def _add(self, slot: int, position: int, token: int, *, wants_logits: bool) -> None:
        batch, i = self._batch, self._batch.n_tokens
        batch.token[i] = token
        batch.pos[i] = position
        batch.n_seq_id[i] = 1
        batch.seq_id[i][0] = slot
        batch.logits[i] = wants_logits
        batch.n_tokens = i + 1

    def _decode(self, rows: int) -> NDArray[np.float32]:
        status = lib.llama_decode(self._context, self._batch)
        if status != 0:
            raise RuntimeError(f"llama_decode returned {status}")
        return np.ctypeslib.as_array(
            lib.llama_get_logits(self._context), shape=(rows, self.model.info.n_vocab)
        )


class BareProcess:
    """A :class:`BareLoop` in a process of its own, with the same arguments and methods."""

    def __init__(self, path: Path, **options: int) -> None:
        spawning = multiprocessing.get_context("spawn")
        self._pipe, far = spawning.Pipe()
        self._process = spawning.Process(target=_serve, args=(far, path, options), daemon=True)
        self._process.start()
        far.close()  # so that a process that dies ends the wait for its answer

    def run(self, prompts: Sequence[Sequence[int]], n_tokens: int) -> BareTimes:
        times: BareTimes = self._ask("run", prompts, n_tokens)
        return times

    def tokenize(self, text: str) -> list[int]:
        tokens: list[int] = self._ask("tokenize", text)
        return tokens

    def close(self) -> None:
        self._pipe.send(None)
        self._process.join()
        self._pipe.close()

    def _ask(self, method: str, *args: object) -> Any:
        self._pipe.send((method, args))
        return self._pipe.recv()


def _serve(pipe: Connection, path: Path, options: dict[str, int]) -> None:
    loop = BareLoop(path, **options)
    while (call := pipe.recv()) is not None:
        method, args = call
        pipe.send(getattr(loop, method)(*args))
    loop.close()
