"""Draw with each kernel of the sampler that is installed: all must draw the tokens that this file names.

It needs nothing but numpy, so every wheel can be tried with it, on every machine that it is for.
"""

from __future__ import annotations

import os
import platform
import sys

import numpy as np

import engine.sampling
from engine.sampling import KERNELS, Sampler, SamplingParams

EXPECTED = [43728, 1276, 44914, 26176, 35772, 44836, 16738, 1513]
N_VOCAB = 49_152


def draw(kernels: str) -> list[int]:
    """Return one token for each of eight choices."""
    os.environ["NUCLEUS_KERNELS"] = kernels
    sampler = Sampler(N_VOCAB, max_slots=8)
    slots = np.arange(8, dtype=np.int32)
    for slot in range(8):
        params = SamplingParams(seed=1, temperature=0.5 + slot / 4, top_p=0.9, top_k=slot * 50, logprobs=5)
        sampler.open(slot, params, stream=slot, prompt=[1, 2, 3])
    logits = (np.arange(8 * N_VOCAB, dtype=np.int64) * 7919 % 10_007 / 800).astype(np.float32)
    return [int(token) for token in sampler.sample(logits.reshape(8, N_VOCAB), slots).tokens]


def main() -> None:
    where = f"{platform.machine()}, Python {platform.python_version()}, {engine.sampling.__file__}"
    for kernels in KERNELS:
        if (tokens := draw(kernels)) != EXPECTED:
            sys.exit(f"{kernels} draws {tokens}, not {EXPECTED} ({where})")
    print(f"{', '.join(KERNELS)} draw alike ({where})")


if __name__ == "__main__":
    main()
