"""Every instruction set gives the same bits, and so does every number of threads."""

from __future__ import annotations

import os
import sys
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from engine.sampling import KERNELS, Sampler, SamplingParams
from tests.sampler.oracle import Choice, copied
from tests.sampler.test_exactness import MAX_LOGPROBS, random_choice, random_logits

if TYPE_CHECKING:
    from numpy.typing import NDArray

OTHERS = KERNELS[1:]


def sampler_on(kernels: str, n_vocab: int, slots: int, threads: int = 1) -> Sampler:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUCLEUS_KERNELS", kernels)
        sampler = Sampler(n_vocab, slots, max_logprobs=MAX_LOGPROBS, threads=threads)
    assert sampler.kernels == kernels
    assert sampler.threads == threads
    return sampler


def sampled(
    sampler: Sampler, logits: NDArray[np.float32], choices: list[Choice], steps: int = 2
) -> list[NDArray[np.generic]]:
    """Return all arrays of a few calls: the draws of the first count in the second."""
    for slot, choice in enumerate(choices):
        sampler.open(
            slot, choice.params, stream=choice.stream, prompt=choice.prompt, generated=choice.generated
        )
    slots = np.arange(len(choices), dtype=np.int32)
    return [array for _ in range(steps) for array in copied(sampler.sample(logits, slots))]


def assert_same_bits(found: list[NDArray[np.generic]], expected: list[NDArray[np.generic]]) -> None:
    for array, other in zip(found, expected, strict=True):
        assert array.tobytes() == other.tobytes()


def test_plain_c_is_always_among_the_kernels() -> None:
    assert KERNELS[-1] == "scalar"
    assert len(set(KERNELS)) == len(KERNELS)


def test_the_best_kernels_are_used_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NUCLEUS_KERNELS", raising=False)
    assert Sampler(10, 1).kernels == KERNELS[0]
    monkeypatch.setenv("NUCLEUS_KERNELS", "")
    assert Sampler(10, 1).kernels == KERNELS[0]
    monkeypatch.setenv("NUCLEUS_KERNELS", "mmx")
    with pytest.raises(
        ValueError, match=r"NUCLEUS_KERNELS must be one of .*scalar on this machine, got 'mmx'"
    ):
        Sampler(10, 1)


@pytest.mark.parametrize("kernels", OTHERS)
@pytest.mark.parametrize(
    ("n_vocab", "rows", "batches"),
    [(1, 64, 4), (7, 64, 8), (255, 64, 16), (256, 64, 8), (257, 64, 16), (4_097, 32, 16), (49_152, 8, 4)],
)
def test_all_kernels_give_the_same_bits(kernels: str, n_vocab: int, rows: int, batches: int) -> None:
    best, other = sampler_on(KERNELS[0], n_vocab, rows), sampler_on(kernels, n_vocab, rows)
    rng = np.random.default_rng(n_vocab)
    dice = Random(n_vocab)  # noqa: S311 - not a secret
    for _ in range(batches):
        logits = random_logits(rng, rows, n_vocab)
        choices = [random_choice(dice, n_vocab) for _ in range(rows)]
        assert_same_bits(sampled(other, logits, choices), sampled(best, logits, choices))


@pytest.mark.parametrize("kernels", OTHERS)
@pytest.mark.parametrize(
    "options", [{}, {"top_p": 0.95}, {"top_p": 0.5}, {"top_k": 40}, {"temperature": 0.0}]
)
def test_all_kernels_give_the_same_bits_on_the_largest_vocabulary(
    kernels: str, options: dict[str, float]
) -> None:
    n_vocab, rows = 262_144, 4
    rng = np.random.default_rng(1)
    scale = np.array([[0.01], [1.0], [3.0], [8.0]])  # flat to peaked
    logits = (rng.normal(0, 1, (rows, n_vocab)) * scale).astype(np.float32)
    base = {"temperature": 0.7, "frequency_penalty": 0.3, "logprobs": 20}
    choices = [
        Choice(SamplingParams(seed=slot, **(base | options)), generated=list(range(200)))  # type: ignore[arg-type]
        for slot in range(rows)
    ]
    found, expected = (
        sampled(sampler_on(name, n_vocab, rows), logits, choices) for name in (kernels, KERNELS[0])
    )
    assert_same_bits(found, expected)


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_threads_change_nothing(threads: int) -> None:
    n_vocab, rows = 5_000, 64  # above what is worth a second thread
    alone, shared = sampler_on(KERNELS[0], n_vocab, rows), sampler_on(KERNELS[0], n_vocab, rows, threads)
    rng, dice = np.random.default_rng(0), Random(0)  # noqa: S311 - not a secret
    for _ in range(20):
        logits = random_logits(rng, rows, n_vocab)
        choices = [random_choice(dice, n_vocab) for _ in range(rows)]
        assert_same_bits(sampled(shared, logits, choices), sampled(alone, logits, choices))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_sampler_with_threads_survives_a_fork() -> None:
    n_vocab, rows = 49_152, 8
    sampler = sampler_on(KERNELS[0], n_vocab, rows, threads=2)
    logits = np.random.default_rng(0).normal(0, 3, (rows, n_vocab)).astype(np.float32)
    choices = [Choice(SamplingParams(seed=slot, top_p=0.9, logprobs=5)) for slot in range(rows)]
    expected = sampled(sampler, logits, choices)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:  # the other thread is not here: the caller does it all
        same = all(
            array.tobytes() == other.tobytes()
            for array, other in zip(sampled(sampler, logits, choices), expected, strict=True)
        )
        del sampler  # must not wait for a thread that is not here
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
