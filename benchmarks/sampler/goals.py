"""What the sampler is meant to reach, and one line of its table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, NamedTuple

from benchmarks.report import Table
from engine.sampling import KERNELS


class Kind(Enum):
    """How a figure comes out of two times, and whether more of it is better."""

    FASTER = "the other time over ours; more is better"
    COSTS = "our time over the other; less is better"
    ADDS = "our time over the other, less one; less is better"
    TAKES = "our time in microseconds; less is better"

    def figure(self, ours: float, ratio: float) -> float:
        """Return the figure for our time in microseconds, and the ratio of the other time to ours."""
        if self is Kind.TAKES:
            return ours
        return ratio if self is Kind.FASTER else 1 / ratio - (self is Kind.ADDS)

    def shown(self, figure: float) -> str:
        """Write a figure for the table."""
        if self is Kind.TAKES:
            return f"{figure:.1f} µs"
        if self is Kind.ADDS:
            return f"{figure:+.1%}"
        return f"{figure:.1f}x" if figure >= 10 else f"{figure:.2f}x"


class Goal(NamedTuple):
    """A kind of figure, with its bounds: for a vocabulary of some 50,000 tokens, and for one of some 260,000.

    A bound is None where the figure is only told.
    """

    kind: Kind
    small: float | None = None
    large: float | None = None


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
    "scalar": {title: Goal(Kind.FASTER, 1, 1) for title in (CONTRACT, TEMPERATURE, GREEDY)},
}
"""For kernels that are not the machine's best: AVX2 reaches 60 % of the goal, scalar code is never slower."""

LINES = Table(
    {"sampler, µs a row": "<41", "kernels": "<8", "n_vocab": ">8d", "other": ">10.1f", "engine": ">9.1f"}
    | {"figure": ">9", "goal": ">11", "elsewhere": ">11.2f"}
)


@dataclass(frozen=True, slots=True)
class Line:
    """What one comparison found."""

    title: str
    """A key of :data:`GOALS`."""
    n_vocab: int
    kernels: str
    ours: float
    """Microseconds a row of logits, the median of the rounds."""
    other: float | None = None
    """The same for what ours is compared with, if with anything."""
    ratio: float = 1.0
    """Median of the rounds' own ratios of the other time to ours; not the quotient of the two medians."""
    elsewhere: float | None = None
    """Processors that other programs kept busy meanwhile."""

    @property
    def goal(self) -> Goal:
        """What the figure is, and is meant to be."""
        return (GOALS if self.kernels == KERNELS[0] else FORCED_GOALS[self.kernels])[self.title]

    @property
    def bound(self) -> float | None:
        """What the figure is meant to reach, or not to pass."""
        return self.goal.small if self.n_vocab < 2**17 else self.goal.large

    @property
    def figure(self) -> float:
        """What the goal is about."""
        return self.goal.kind.figure(self.ours, self.ratio)

    @property
    def reached(self) -> bool:
        """True if the figure is within its bound, or has none."""
        sign = -1 if self.goal.kind is Kind.FASTER else 1
        return self.bound is None or sign * self.figure <= sign * self.bound

    @property
    def place(self) -> tuple[int, int, int]:
        """Where the line stands in the table."""
        return KERNELS.index(self.kernels), list(GOALS).index(self.title), self.n_vocab

    def text(self) -> str:
        """Write the line as :data:`LINES` has it."""
        kind, bound = self.goal.kind, self.bound
        wanted = None if bound is None else f"{'≥' if kind is Kind.FASTER else '≤'} {kind.shown(bound)}"
        return LINES.line(
            *(self.title, self.kernels, self.n_vocab, self.other, self.ours),
            *(kind.shown(self.figure), wanted, self.elsewhere),
            remarks=["missed"] * (not self.reached),
        )

    def entry(self) -> dict[str, Any]:
        """Return the line for JSON."""
        entry = asdict(self) | {
            "figure": self.figure,
            "is": self.goal.kind.value,
            "goal": self.bound,
            "reached": self.reached,
        }
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in entry.items()}
