"""What takes turns in a comparison: our sampler, llama.cpp's, what people write by hand, and one read."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import llama_cpp as lib
import numpy as np
import pytest

from benchmarks.sampler.material import N_ROWS
from engine.sampling import KERNELS, Sampler, SamplingParams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from benchmarks.sampler.material import Material, Rows

TYPICAL: dict[str, Any] = {
    "temperature": 0.7,
    "top_p": 0.95,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "logprobs": 5,
}
"""What a client of the contract typically asks for, with log-probabilities."""


class Side(Protocol):
    """One way of working on all the rows."""

    def time(self) -> list[float]:
        """Work on every row once; return seconds a row: one number for each of them, or one for all."""


class Nucleus:
    """Our sampler, with the slots for one round over the rows.

    Unless told otherwise, one call draws from all the rows, as for sixteen streams, so a sixteenth of a call
    from Python is in the time of a row. What such a call costs has a line of its own in the table.

    Args:
        material: The rows and the history; the history counts as generated before each draw.
        options: Fields of :class:`SamplingParams` other than the seed.
        kernels: The instruction set to force.
        threads: Threads that share a call.
        rows_per_call: Rows that one call draws from.
        n: Draws from each row.
        visits: How often a round visits all the rows, one call right after the other.
    """

    def __init__(
        self,
        material: Material,
        options: dict[str, Any],
        *,
        kernels: str = KERNELS[0],
        threads: int = 1,
        rows_per_call: int = N_ROWS,
        n: int = 1,
        visits: int = 1,
    ) -> None:
        self.n_rows, self.n_vocab = visits * len(material.logits), material.n_vocab
        self._material = material
        self._history = np.array(material.history, np.int32)
        self._params = SamplingParams(seed=1, **options)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NUCLEUS_KERNELS", kernels)
            self._sampler = Sampler(material.n_vocab, N_ROWS * n, threads=threads)
        self._slots = np.arange(N_ROWS * n, dtype=np.int32)
        rows = np.repeat(np.arange(N_ROWS, dtype=np.int32), n)
        per_call = rows_per_call * n
        self._calls = visits * [
            (self._slots[start : start + per_call], rows[start : start + per_call])
            for start in range(0, len(rows), per_call)
        ]

    def prepare(self) -> None:
        """Take every slot back to the history, to which a draw adds its token; touch the rows."""
        for slot in self._slots.tolist():
            self._sampler.open(slot, self._params, stream=slot, generated=self._history)
        self._material.touch()

    def run(self) -> None:
        """Draw from every row: what is timed."""
        for slots, rows in self._calls:
            self._sampler.sample(self._material.logits, slots, rows)

    def time(self) -> list[float]:
        """Return the mean seconds of a row."""
        self.prepare()
        start = perf_counter()
        self.run()
        return [(perf_counter() - start) / self.n_rows]

    def nucleus_size(self, row: int) -> int:
        """Return how many tokens the first slot may draw from a row."""
        self.prepare()
        return len(self._sampler.distribution(self._material.logits[row], 0)[0])


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
        """Return the seconds of every row, drawn after the history."""
        lib.llama_sampler_reset(self._chain)
        for token in self._history:
            lib.llama_sampler_accept(self._chain, token)
        self._material.touch()
        return [self._seconds(output) for output in self._rows.outputs]

    def close(self) -> None:
        """Free the chain and its samplers."""
        lib.llama_sampler_free(self._chain)

    def _seconds(self, output: int) -> float:
        start = perf_counter()
        lib.llama_sampler_chain_get(self._chain, -1)
        call = perf_counter() - start
        start = perf_counter()
        lib.llama_sampler_sample(self._chain, self._rows.handle, output)
        return perf_counter() - start - call


def _draw_at(temperature: float) -> list[Any]:
    return [lib.llama_sampler_init_temp(temperature), lib.llama_sampler_init_dist(1)]


class OneRead:
    """The floor under every sampler: numpy's vectorised maximum of each row, in one call for all of them."""

    def __init__(self, material: Material) -> None:
        self._material = material

    def time(self) -> list[float]:
        """Return the mean seconds of a row."""
        self._material.touch()
        start = perf_counter()
        self._material.logits.max(axis=1)
        return [(perf_counter() - start) / len(self._material.logits)]


class RowByRow:
    """A Python function of one row, timed for each of the rows."""

    def __init__(self, material: Material, function: Callable[[NDArray[np.float32]], object]) -> None:
        self._material = material
        self._function = function

    def time(self) -> list[float]:
        """Return the seconds of every row."""
        self._material.touch()
        return [self._seconds(row) for row in self._material.logits]

    def _seconds(self, row: NDArray[np.float32]) -> float:
        start = perf_counter()
        self._function(row)
        return perf_counter() - start


def with_numpy(material: Material) -> RowByRow:
    """Return the contract's draw as people write it with numpy: softmax, sort, choice."""
    random = np.random.default_rng(1)
    penalty = np.zeros(material.n_vocab, np.float32)
    penalty[material.history] = 1.0  # each was generated once: 0.5 for presence, 0.5 for its frequency

    def draw(row: NDArray[np.float32]) -> tuple[Any, ...]:
        shifted = row - row.max()
        logprobs = shifted - np.log(np.exp(shifted).sum())
        best = np.argpartition(logprobs, -5)[-5:]
        alternatives = best[np.argsort(-logprobs[best])]
        scaled = (row - penalty) / 0.7
        probabilities = np.exp(scaled - scaled.max())
        probabilities /= probabilities.sum()
        order = np.argsort(probabilities)[::-1]
        mass = np.cumsum(probabilities[order])
        kept = order[: np.searchsorted(mass, 0.95) + 1]
        token = random.choice(kept, p=probabilities[kept] / probabilities[kept].sum())
        return token, logprobs[token], alternatives, logprobs[alternatives]

    return RowByRow(material, draw)


def with_torch(material: Material, torch: Any) -> RowByRow:
    """Return the same with PyTorch on one thread; the module is not among our dependencies."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(1)
    penalty = torch.zeros(material.n_vocab)
    penalty[torch.tensor(material.history)] = 1.0

    def draw(row: NDArray[np.float32]) -> tuple[Any, ...]:
        logits = torch.from_numpy(row)
        logprobs = torch.log_softmax(logits, dim=-1)
        alternatives = torch.topk(logprobs, 5)
        probabilities = torch.softmax((logits - penalty) / 0.7, dim=-1)
        ordered, order = torch.sort(probabilities, descending=True)
        ordered[torch.cumsum(ordered, dim=-1) - ordered > 0.95] = 0.0
        token = order[torch.multinomial(ordered, 1, generator=generator)].item()
        return token, logprobs[token].item(), alternatives.indices.tolist(), alternatives.values.tolist()

    return RowByRow(material, draw)
