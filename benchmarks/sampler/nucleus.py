"""Our side: :class:`engine.sampling.Sampler` on all the rows."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from benchmarks.sampler.rows import N_ROWS
from engine.sampling import KERNELS, Sampler, SamplingParams

if TYPE_CHECKING:
    from benchmarks.sampler.material import Material

TYPICAL: dict[str, Any] = {
    "temperature": 0.7,
    "top_p": 0.95,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "logprobs": 5,
}
"""What a client of the contract typically asks for, with log-probabilities."""


class Nucleus:
    """A sampler, with the slots for one round over the rows.

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
        self._logits = material.logits
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
            self._sampler.sample(self._logits, slots, rows)

    def time(self) -> list[float]:
        """Return the mean seconds of a row."""
        self.prepare()
        start = perf_counter()
        self.run()
        return [(perf_counter() - start) / self.n_rows]

    def nucleus_size(self, row: int) -> int:
        """Return how many tokens the first slot may draw from a row."""
        self.prepare()
        return len(self._sampler.distribution(self._logits[row], 0)[0])
