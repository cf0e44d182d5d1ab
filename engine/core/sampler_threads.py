"""How many threads draw the tokens of a step: tried, since it depends on rows, vocabulary and machine."""

from __future__ import annotations

import time
from statistics import median

import numpy as np

from engine.sampling import Sampler, SamplingParams

_ROWS = 32
"""Rows to try with at most; more only make it clearer."""
_CALLS = 5
_PAUSE = 1e-3
"""Seconds between calls, in which the threads fall asleep, as they do while the model runs."""
_WORTH = 0.97
"""More threads are taken if a call takes at most this part of its time with fewer."""
_ANY = SamplingParams(seed=0, temperature=0.8, top_p=0.95, presence_penalty=0.1, logprobs=5)


def fastest_threads(n_vocab: int, n_slots: int, most: int) -> int:
    """Return how many threads sample a step of all slots fastest: 1, 2, 4, … or ``most``.

    Args:
        n_vocab: Width of a row of logits.
        n_slots: Rows of a step at most.
        most: Threads that may be used.
    """
    rows = min(n_slots, _ROWS)
    most = min(most, rows)
    if most == 1:
        return 1
    best, fastest = 1, _seconds(n_vocab, rows, 1)
    while best < most:
        threads = min(2 * best, most)
        seconds = _seconds(n_vocab, rows, threads)
        if seconds > _WORTH * fastest:
            break
        best, fastest = threads, seconds
    return best


def _seconds(n_vocab: int, rows: int, threads: int) -> float:
    """Return the median time of a call."""
    sampler = Sampler(n_vocab, rows, max_logprobs=5, threads=threads)
    slots = np.arange(rows, dtype=np.int32)
    row = np.random.default_rng(0).normal(0, 3, n_vocab).astype(np.float32)
    logits = np.broadcast_to(row, (rows, n_vocab)).copy()
    for slot in range(rows):
        sampler.open(slot, _ANY, stream=slot)
    times = []
    for _ in range(_CALLS):
        time.sleep(_PAUSE)
        began = time.perf_counter()
        sampler.sample(logits, slots)
        times.append(time.perf_counter() - began)
    return median(times)
