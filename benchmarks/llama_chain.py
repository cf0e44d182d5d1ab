"""llama.cpp's own sampler chain on a row of logits, called so that llama.cpp is timed and not ctypes."""

from __future__ import annotations

import ctypes
from time import perf_counter
from typing import TYPE_CHECKING, Any

import llama_cpp as lib
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engine.sampling import SamplingParams

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])  # llama_token_data


class LlamaChain:
    """Penalties, top-p, temperature and a draw, in llama.cpp's own order, with the state of one choice.

    The candidates of every row are laid out once. A draw then costs two foreign calls beside the chain itself
    and the copy into a working array; :meth:`copy` does the copy alone, to be taken off.

    Args:
        logits: float32 ``[rows, n_vocab]``.
        params: Of which the chain takes the penalties, ``top_p``, ``temperature`` and the seed.
        history: Tokens generated before; the penalties look back on all of them.
    """

    def __init__(self, logits: NDArray[np.float32], params: SamplingParams, history: list[int]) -> None:
        n_rows, n_vocab = logits.shape
        self._rows = np.zeros((n_rows, n_vocab), _CANDIDATE)
        self._rows["id"] = np.arange(n_vocab)
        self._rows["logit"] = logits
        self._work = np.empty(n_vocab, _CANDIDATE)
        self._addresses = [self._rows[row].ctypes.data for row in range(n_rows)]
        self._array = lib.llama_token_data_array()
        self._array.data = ctypes.cast(self._work.ctypes.data, ctypes.POINTER(lib.llama_token_data))
        self._pointer = ctypes.byref(self._array)
        self._chain = _chain(n_vocab, params, len(history) + n_rows)
        for token in history:
            lib.llama_sampler_accept(self._chain, token)

    def run(self) -> float:
        """Draw from every row in turn; return the seconds."""
        start = perf_counter()
        for address in self._addresses:
            self._fill(address)
            lib.llama_sampler_apply(self._chain, self._pointer)
            lib.llama_sampler_accept(self._chain, int(self._work["id"][self._array.selected]))
        return perf_counter() - start

    def copy(self) -> float:
        """Only fill the working array with every row in turn; return the seconds."""
        start = perf_counter()
        for address in self._addresses:
            self._fill(address)
        return perf_counter() - start

    def close(self) -> None:
        """Free the chain."""
        lib.llama_sampler_free(self._chain)

    def _fill(self, address: int) -> None:
        ctypes.memmove(self._work.ctypes.data, address, self._work.nbytes)
        self._array.size = len(self._work)
        self._array.selected = -1
        self._array.sorted = False


def _chain(n_vocab: int, params: SamplingParams, last_n: int) -> Any:
    chain: Any = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    penalties = (params.repetition_penalty, params.frequency_penalty, params.presence_penalty)
    lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_penalties(n_vocab, last_n, *penalties))
    lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_top_p(params.top_p, 1))
    lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_temp(params.temperature))
    lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_dist(params.seed & 0xFFFF_FFFF))
    return chain
