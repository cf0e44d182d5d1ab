"""Draw tokens from any logits, without a model: ``python examples/sample_numpy_logits.py``."""

from __future__ import annotations

import numpy as np

from engine.sampling import RowStatus, Sampler, SamplingParams

N_VOCAB = 32_000


def main() -> None:
    """Draw for four different rows, then eight times from one row."""
    logits = np.random.default_rng(0).normal(0.0, 3.0, (4, N_VOCAB)).astype(np.float32)
    sampler = Sampler(N_VOCAB, max_slots=8)

    print("Four rows, one draw each:")
    params = SamplingParams(
        seed=42,
        temperature=0.7,
        top_p=0.95,
        presence_penalty=0.5,
        frequency_penalty=0.5,
        logit_bias={0: -np.inf},
        logprobs=5,
    )
    for slot in range(4):
        sampler.open(slot, params, stream=slot, generated=[7, 7, 8])
    draws = sampler.sample(logits, np.arange(4, dtype=np.int32))
    for slot in range(4):
        if draws.status[slot] != RowStatus.OK:
            print(f"  row {slot}: {RowStatus(draws.status[slot]).message}")
            continue
        best = zip(draws.top_tokens[slot, :5], draws.top_logprobs[slot, :5], strict=True)
        print(f"  row {slot}: token {draws.tokens[slot]}, log probability {draws.logprobs[slot]:.3f}")
        print("    best:", ", ".join(f"{token} ({logprob:.3f})" for token, logprob in best))

    print("Eight draws from row 0, one pass over it:")
    for slot in range(8):
        sampler.open(slot, SamplingParams(seed=42, temperature=0.7, top_p=0.95), stream=slot)
    draws = sampler.sample(logits, slots=np.arange(8, dtype=np.int32), rows=np.zeros(8, dtype=np.int32))
    ids, probabilities = sampler.distribution(logits[0], slot=0)
    print(f"  tokens {draws.tokens.tolist()}")
    print(f"  out of {len(ids)} kept, the best of them at p = {probabilities.max():.3f}")


if __name__ == "__main__":
    main()
