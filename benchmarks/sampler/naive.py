"""The contract's draw as people write it with an array library: softmax, sort, choice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.sampler.side import RowByRow

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.sampler.material import Material


def with_numpy(material: Material) -> RowByRow:
    """Return numpy's side."""
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
    """Return PyTorch's side, which computes on one thread.

    Args:
        material: What to draw from.
        torch: The module; it is not among our dependencies.
    """
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
