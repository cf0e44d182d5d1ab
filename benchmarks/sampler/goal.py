"""What the sampler is meant to reach."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """How a figure comes out of two times, and whether more of it is better."""

    FASTER = "the other time over ours; more is better"
    COSTS = "our time over the other; less is better"
    ADDS = "our time over the other, less one; less is better"
    TAKES = "our time in microseconds; less is better"

    @property
    def more_is_better(self) -> bool:
        """Whether the bound is a lower one."""
        return self is Kind.FASTER

    def figure(self, ours: float, ratio: float) -> float:
        """Return the figure for our time in microseconds, and the ratio of the other time to ours."""
        if self is Kind.TAKES:
            return ours
        if self is Kind.FASTER:
            return ratio
        return 1 / ratio - (self is Kind.ADDS)

    def shown(self, figure: float) -> str:
        """Write a figure for the table."""
        if self is Kind.TAKES:
            return f"{figure:.1f} µs"
        if self is Kind.ADDS:
            return f"{figure:+.1%}"
        return f"{figure:.1f}x" if figure >= 10 else f"{figure:.2f}x"


@dataclass(frozen=True, slots=True)
class Goal:
    """A kind of figure, with its bound."""

    kind: Kind
    small: float | None = None
    """The bound for a vocabulary of some 50,000 tokens; None where the figure is only told."""
    large: float | None = None
    """The bound for one of some 260,000."""

    def bound(self, n_vocab: int) -> float | None:
        """Return the bound for a vocabulary."""
        return self.small if n_vocab < 2**17 else self.large

    def reached(self, figure: float, n_vocab: int) -> bool:
        """Tell whether a figure is within its bound, if it has one."""
        bound = self.bound(n_vocab)
        if bound is None:
            return True
        return figure >= bound if self.kind.more_is_better else figure <= bound


CONTRACT = "contract, against llama.cpp's chain"
CONTRACT_MEAN = "contract, against it, mean of the rows"
CONTRACT_READ = "contract, against one read of the row"
TEMPERATURE = "temperature only, against llama.cpp's"
GREEDY = "greedy, against llama.cpp's"
GREEDY_LOGPROB = "greedy with logprobs=0, against the same"
FLAT = "flat row, against a typical one"
SIXTEEN = "16 draws from a row, against one"
THREADS = "8 rows on two threads, against one"
PENALTIES = "penalties, against none"
BIAS = "20 logit biases, against none"
TOP_K = "top_k=40, against none"
MIN_P = "min_p=0.05, against none"
LOGPROBS = "logprobs=20, against logprobs=5"
CALL = "a call from Python, less its C"
NUMPY = "contract, against naive numpy"
TORCH = "contract, against naive PyTorch"

GOALS = {
    CONTRACT: Goal(Kind.FASTER, 25, 25),
    CONTRACT_MEAN: Goal(Kind.FASTER),
    CONTRACT_READ: Goal(Kind.COSTS, 7, 3.5),
    TEMPERATURE: Goal(Kind.FASTER, 18, 18),
    GREEDY: Goal(Kind.FASTER, 8, 5),
    GREEDY_LOGPROB: Goal(Kind.FASTER, 3.5, 2.5),
    FLAT: Goal(Kind.COSTS, 4, 4),
    SIXTEEN: Goal(Kind.COSTS, 1.3, 1.3),
    THREADS: Goal(Kind.FASTER, 1.6, 1.7),
    PENALTIES: Goal(Kind.ADDS, 0.1, 0.1),
    BIAS: Goal(Kind.ADDS, 0.1, 0.1),
    TOP_K: Goal(Kind.ADDS, 0.1, 0.1),
    MIN_P: Goal(Kind.ADDS, 0.1, 0.1),
    LOGPROBS: Goal(Kind.ADDS, 0.1, 0.1),
    CALL: Goal(Kind.TAKES, 2),
    NUMPY: Goal(Kind.FASTER),
    TORCH: Goal(Kind.FASTER),
}
"""For the best kernels of the machine, in the order of the table."""

FORCED_GOALS = {
    "avx2": {CONTRACT: Goal(Kind.FASTER, 15, 15), CONTRACT_READ: Goal(Kind.COSTS, 7 / 0.6, 3.5 / 0.6)},
    "scalar": {
        CONTRACT: Goal(Kind.FASTER, 1, 1),
        TEMPERATURE: Goal(Kind.FASTER, 1, 1),
        GREEDY: Goal(Kind.FASTER, 1, 1),
    },
}
"""For kernels that are not the machine's best: AVX2 reaches 60 % of the goal, scalar code is never slower."""
