"""llama.cpp's own samplers on the same rows, called so that llama.cpp is timed and not ctypes."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

import llama_cpp as lib

from benchmarks.sampler.rows import N_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.sampler.material import Material
    from benchmarks.sampler.rows import Rows


class LlamaChain:
    """A chain of llama.cpp's samplers, which draws from the rows of a context.

    What is timed is ``llama_sampler_sample``, which is what a program pays that asks llama.cpp for a token.
    It reads a row from the context, builds the array of candidates (in memory that the chain keeps from draw
    to draw), applies the samplers to it and accepts the token. The chain keeps no times of its own, for which
    it would read the clock as well.

    What the foreign call itself takes is taken off: just before each draw, a function of the same library is
    timed that returns its first argument and does nothing else. It has two arguments where a draw has three,
    about a tenth of a microsecond less; but it also finds less of the interpreter in the caches than the draw
    right after it.
    """

    def __init__(
        self, rows: Rows, material: Material, samplers: Iterable[Any], history: Iterable[int] = ()
    ) -> None:
        self._rows = rows
        self._material = material
        self._history = list(history)
        params = lib.llama_sampler_chain_default_params()
        params.no_perf = True
        self._chain: Any = lib.llama_sampler_chain_init(params)
        for sampler in samplers:
            lib.llama_sampler_chain_add(self._chain, sampler)

    @classmethod
    def contract(cls, rows: Rows, material: Material) -> LlamaChain:
        """Return the chain of the contract's parameters, in llama.cpp's own order; it has no logprobs.

        It looks back on the history, of which nothing is forgotten for the up to 16 tokens drawn since.
        """
        last_n = len(material.history) + N_ROWS
        penalties = lib.llama_sampler_init_penalties(material.n_vocab, last_n, 1.0, 0.5, 0.5)
        top_p = lib.llama_sampler_init_top_p(0.95, 1)
        return cls(rows, material, [penalties, top_p, *_draw_at(0.7)], material.history)

    @classmethod
    def temperature(cls, rows: Rows, material: Material) -> LlamaChain:
        """Return a chain of nothing but the temperature and the draw."""
        return cls(rows, material, _draw_at(0.7))

    @classmethod
    def greedy(cls, rows: Rows, material: Material) -> LlamaChain:
        """Return a chain that takes the best token."""
        return cls(rows, material, [lib.llama_sampler_init_greedy()])

    def time(self) -> list[float]:
        """Return the seconds of every row."""
        self._restart()
        self._material.touch()
        return [self._seconds(output) for output in self._rows.outputs]

    def close(self) -> None:
        """Free the chain and its samplers."""
        lib.llama_sampler_free(self._chain)

    def _restart(self) -> None:
        """Take the chain back to the history, from the tokens that it accepted in the round before."""
        lib.llama_sampler_reset(self._chain)
        for token in self._history:
            lib.llama_sampler_accept(self._chain, token)

    def _seconds(self, output: int) -> float:
        start = perf_counter()
        lib.llama_sampler_chain_get(self._chain, -1)
        call = perf_counter() - start
        start = perf_counter()
        lib.llama_sampler_sample(self._chain, self._rows.context, output)
        return perf_counter() - start - call


def _draw_at(temperature: float) -> list[Any]:
    return [lib.llama_sampler_init_temp(temperature), lib.llama_sampler_init_dist(1)]
