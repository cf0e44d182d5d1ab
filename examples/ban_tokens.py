"""Say which tokens may be drawn, in numpy, without a model: ``python examples/ban_tokens.py``."""

from __future__ import annotations

import numpy as np

from engine.sampling import Sampler, SamplingParams

WORDS = np.array(["no", "yes", "perhaps", "1", "2", "3", "."])


def main() -> None:
    """Draw from the same logits as they are, without some words, and among the digits."""
    sampler = Sampler(n_vocab=len(WORDS), max_slots=3)
    logits = np.array([[2.0, 1.5, 3.0, 0.0, 0.5, 0.2, 1.0]], np.float32)
    slots, rows = np.arange(3, dtype=np.int32), np.zeros(3, np.int32)  # three draws from one row of logits

    is_digit = np.char.isdigit(WORDS)  # bool [n_vocab]
    masks = np.concatenate(
        [
            sampler.masks(banned=[]),
            sampler.masks(banned=[0, 2]),
            sampler.masks(allowed=is_digit),
        ]
    )
    for slot in range(3):
        sampler.open(slot, SamplingParams(seed=7))
    tokens = [sampler.sample(logits, slots, rows, masks=masks).tokens.copy() for _ in range(8)]
    for name, drawn in zip(
        ("any word", "no 'no', no 'perhaps'", "digits"), np.transpose(tokens), strict=True
    ):
        print(f"{name:22}", " ".join(WORDS[drawn]))

    ids, probabilities = sampler.distribution(logits[0], slot=2, mask=masks[2])
    print(
        "among the digits:", ", ".join(f"{WORDS[i]} {p:.0%}" for i, p in zip(ids, probabilities, strict=True))
    )


if __name__ == "__main__":
    main()
