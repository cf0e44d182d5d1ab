"""llama.cpp alone: the same decodes as the engine's and nothing else, the yardstick of the throughput table.

It runs in a process of its own. llama.cpp computes with OpenMP, whose threads spin while they wait for each
other; but GNU's library hardly lets them spin once a process has more of them than there are processors. The
engine and a bare loop beside it would be two teams, and slow each other down even while one of them is idle.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.llama import Context
from benchmarks.machine import Elsewhere

import llama_cpp as lib  # isort: skip - after what settles its threads

if TYPE_CHECKING:
    from collections.abc import Sequence

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


class BareLoop(Context):
    """A loop around ``llama_decode``."""

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
