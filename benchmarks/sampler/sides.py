"""Rows of logits, and the sides that take turns to work on them."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import llama_cpp as lib
import numpy as np
import pytest

from benchmarks.prompts import PASSAGES
from engine.sampling import Sampler, SamplingParams

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_ROWS = len(PASSAGES)

Side = Callable[[], list[float]]
"""Works on all the rows once; returns seconds a row: one number for each of them, or one for all."""


class Rows(NamedTuple):
    """A row of logits after each passage, and what was generated before.

    A side visits all the rows, one after the other, before it comes back to the first. So at 49,152 tokens it
    reads 3 MB before it meets a row again, and finds none in the caches of the core (L1, L2).
    """

    logits: NDArray[np.float32]
    """float32 ``[N_ROWS, n_vocab]``"""
    history: NDArray[np.int32]
    """Different tokens, generated before each draw."""
    context: Any
    """The context of llama.cpp that computed the rows: its own samplers read them there."""
    outputs: list[int]
    """Where each row's token is in the context's batch, which is what llama.cpp's functions go by."""

    @property
    def n_vocab(self) -> int:
        """Entries of a row."""
        return int(self.logits.shape[1])

    def touch(self) -> None:
        """Bring every row into the cache that all cores share, as if a model had just written it."""
        for _ in range(2):  # after a single reading, the next is still half as slow again as the one after it
            self.logits.max(axis=1)

    def narrowed(self, n_vocab: int) -> Rows:
        """Return rows as of a smaller vocabulary: of each, the head and a sample of its rare tokens."""
        head = n_vocab // 8
        tail = np.random.default_rng(n_vocab).permutation(np.arange(head, self.n_vocab))
        ranks = np.append(np.arange(head), tail[: n_vocab - head])
        tokens = np.sort(np.argsort(-self.logits, axis=1).take(ranks, axis=1), axis=1)
        history = np.linspace(0, n_vocab - 1, len(self.history), dtype=np.int32)
        return self._replace(logits=np.take_along_axis(self.logits, tokens, axis=1), history=history)


def seconds(work: Callable[..., object], *arguments: object) -> float:
    """Return how long a call takes."""
    start = perf_counter()
    work(*arguments)
    return perf_counter() - start


def mask_allowing(allowed: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the words of a mask: the lowest bit of the first one is for token 0."""
    padded = np.pad(allowed, (0, -len(allowed) % 32))
    return np.packbits(padded, bitorder="little").view(np.int32)


def nucleus(
    rows: Rows,
    params: SamplingParams,
    per_call: int = N_ROWS,
    n: int = 1,
    visits: int = 1,
    threads: int = 1,
    allowed: NDArray[np.bool_] | None = None,
) -> Side:
    """Return our sampler, whose slots go back to the history before each turn.

    A call draws ``n`` times from each of its ``per_call`` rows, and a turn visits all the rows ``visits``
    times, one call right after the other. By default one call draws from all the rows, as for sixteen
    streams, so a sixteenth of a call from Python is in the time of a row. Each draw has a mask of its own, of
    the same ``allowed`` tokens.
    """
    sampler = Sampler(rows.n_vocab, N_ROWS * n, threads=threads)
    slots = np.arange(N_ROWS * n, dtype=np.int32)
    calls = [(some, some // n) for some in slots.reshape(-1, per_call * n)] * visits
    masks = None if allowed is None else np.tile(mask_allowing(allowed), (per_call * n, 1))

    def draw() -> None:
        for some, their_rows in calls:
            sampler.sample(rows.logits, some, their_rows, masks=masks)

    def turn() -> list[float]:
        for slot in slots.tolist():
            sampler.open(slot, params, stream=slot, generated=rows.history)
        rows.touch()
        return [seconds(draw) / (N_ROWS * visits)]

    return turn


def llama_chain(rows: Rows, params: SamplingParams) -> Side:
    """Return a chain of llama.cpp's samplers, which has no log-probabilities.

    A draw reads the row, builds the array of candidates, applies the chain and accepts the token: a program
    pays all of it for each token. What the foreign call itself takes is taken off: just before each draw, a
    function of the same library is timed that does nothing.
    """
    options = lib.llama_sampler_chain_default_params()
    options.no_perf = True  # with its own times, the chain would read the clock as well
    chain: Any = lib.llama_sampler_chain_init(options)
    for sampler in _llama_samplers(rows, params):
        lib.llama_sampler_chain_add(chain, sampler)

    def draw(output: int) -> float:
        call = seconds(lib.llama_sampler_chain_get, chain, -1)
        return seconds(lib.llama_sampler_sample, chain, rows.context, output) - call

    def turn() -> list[float]:
        lib.llama_sampler_reset(chain)
        for token in rows.history.tolist():
            lib.llama_sampler_accept(chain, token)
        rows.touch()
        return [draw(output) for output in rows.outputs]

    weakref.finalize(turn, lib.llama_sampler_free, chain)
    return turn


def _llama_samplers(rows: Rows, params: SamplingParams) -> list[Any]:
    """Return the samplers in llama.cpp's own order; where one has nothing to do, llama.cpp makes it empty."""
    if params.temperature == 0:
        return [lib.llama_sampler_init_greedy()]
    last_n = len(rows.history) + N_ROWS  # so that nothing is forgotten for the tokens drawn since
    penalties = params.repetition_penalty, params.frequency_penalty, params.presence_penalty
    return [
        lib.llama_sampler_init_penalties(rows.n_vocab, last_n, *penalties),
        lib.llama_sampler_init_top_p(params.top_p, 1),
        lib.llama_sampler_init_temp(params.temperature),
        lib.llama_sampler_init_dist(params.seed),
    ]


def one_call(rows: Rows) -> Side:
    """Return a call from Python for one greedy draw, less what a draw takes in calls for all the rows."""
    n_rows = len(rows.logits)
    sampler = Sampler(rows.n_vocab, n_rows)
    slots = np.arange(n_rows, dtype=np.int32)
    for slot in slots.tolist():
        sampler.open(slot, SamplingParams(seed=1, temperature=0.0))

    def turn() -> list[float]:
        for_all = seconds(sampler.sample, rows.logits, slots)
        for_one = seconds(sampler.sample, rows.logits[:1], slots[:1])
        return [for_one - (for_all - for_one) / (n_rows - 1)]

    return turn


def one_read(rows: Rows) -> Side:
    """Return the floor under every sampler: numpy's vectorised maximum of each row, in one call for all."""

    def turn() -> list[float]:
        rows.touch()
        return [seconds(rows.logits.max, 1) / N_ROWS]

    return turn


def by_numpy(rows: Rows) -> Side:
    """Return the typical draw as people write it with numpy: softmax, sort, choice."""
    random = np.random.default_rng(1)
    penalty = np.zeros(rows.n_vocab, np.float32)
    penalty[rows.history] = 1.0  # each was generated once: 0.5 for presence, 0.5 for its frequency

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

    return _row_by_row(rows, draw)


def by_torch(rows: Rows) -> Side:
    """Return the same with PyTorch on one thread, if it is installed: it is not among our dependencies."""
    torch: Any = pytest.importorskip("torch")
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(1)
    penalty = torch.zeros(rows.n_vocab)
    penalty[rows.history.tolist()] = 1.0

    def draw(row: NDArray[np.float32]) -> tuple[Any, ...]:
        logits = torch.from_numpy(row)
        logprobs = torch.log_softmax(logits, dim=-1)
        alternatives = torch.topk(logprobs, 5)
        probabilities = torch.softmax((logits - penalty) / 0.7, dim=-1)
        ordered, order = torch.sort(probabilities, descending=True)
        ordered[torch.cumsum(ordered, dim=-1) - ordered > 0.95] = 0.0
        token = order[torch.multinomial(ordered, 1, generator=generator)].item()
        return token, logprobs[token].item(), alternatives.indices.tolist(), alternatives.values.tolist()

    return _row_by_row(rows, draw)


def _row_by_row(rows: Rows, draw: Callable[[NDArray[np.float32]], object]) -> Side:
    def turn() -> list[float]:
        rows.touch()
        return [seconds(draw, row) for row in rows.logits]

    return turn
