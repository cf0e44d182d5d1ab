"""A call of the sampler allocates nothing: counted by an allocator that is preloaded into a process."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.sampling import KERNELS

_COUNTER = Path(__file__).parent.parent / "standins" / "count_allocations.c"

_PROGRAM = """
import ctypes
import numpy as np
from engine.sampling import Sampler, SamplingParams

allocations = ctypes.c_size_t.in_dll(ctypes.CDLL(None), "allocations")
n_vocab, slots, threads = 5_000, 16, {threads}
rng = np.random.default_rng(0)
logits = (rng.normal(0, 1, (slots, n_vocab)) * np.linspace(0.01, 5, slots)[:, None]).astype(np.float32)
sampler = Sampler(n_vocab, slots, threads=threads)
kinds = [
    dict(), dict(top_p=0.95), dict(top_p=0.5, presence_penalty=0.5), dict(top_k=40, repetition_penalty=1.1),
    dict(min_p=0.05, logit_bias={{7: 2.0}}), dict(temperature=0.0, frequency_penalty=1.0), dict(top_p=1e-6),
    dict(temperature=0.01, top_p=0.999),
]
for slot in range(slots):
    sampler.open(slot, SamplingParams(seed=slot, logprobs=5, **kinds[slot % len(kinds)]), prompt=[1, 2, 3])
numbers = np.arange(slots, dtype=np.int32)
shares = np.resize([1.0, 0.5, 0.99, 0.001, 0.1], (slots, 1))
masks = np.packbits(rng.random((slots, 5_024)) < shares, axis=1).view(np.int32)


def count(calls):
    before = allocations.value
    for _ in range(calls):
        sampler.sample(logits, numbers)
        sampler.sample(logits, numbers, masks=masks)
        sampler.sample(logits, numbers, masks=masks, mask_rows=numbers[::-1].copy())
    return allocations.value - before


assert allocations.value > 0
count(10)  # the views of the results are made once, and Python has its free lists to fill
print(count(300))
"""


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("counter") / "counter.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", path, _COUNTER], check=True)
    return path


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="counts glibc's allocations")
@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="that has an allocator of its own")
@pytest.mark.skipif(shutil.which("cc") is None, reason="the counter is compiled here")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kernels", KERNELS)
def test_a_call_allocates_nothing(counter: Path, threads: int, kernels: str) -> None:
    program = _PROGRAM.format(threads=threads)
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"LD_PRELOAD": str(counter), "NUCLEUS_KERNELS": kernels},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stderr == ""
    assert int(result.stdout) == 0
