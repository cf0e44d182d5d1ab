from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from engine.sampling import SamplingParams

KERNELS: tuple[str, ...]

class Draws(NamedTuple):
    tokens: NDArray[np.int32]
    logprobs: NDArray[np.float64]
    top_tokens: NDArray[np.int32]
    top_logprobs: NDArray[np.float64]
    status: NDArray[np.int32]

class Scores(NamedTuple):
    logprobs: NDArray[np.float64]
    top_tokens: NDArray[np.int32]
    top_logprobs: NDArray[np.float64]
    status: NDArray[np.int32]

@disjoint_base
class Sampler:
    def __new__(cls, n_vocab: int, max_slots: int, *, max_logprobs: int = 20, threads: int = 1) -> Self: ...
    @property
    def n_vocab(self) -> int: ...
    @property
    def max_slots(self) -> int: ...
    @property
    def max_logprobs(self) -> int: ...
    @property
    def threads(self) -> int: ...
    @property
    def kernels(self) -> str: ...
    def open(
        self,
        slot: int,
        params: SamplingParams,
        *,
        stream: int = 0,
        prompt: Sequence[int] | NDArray[np.int32] = (),
        generated: Sequence[int] | NDArray[np.int32] = (),
    ) -> None: ...
    def close(self, slot: int) -> None: ...
    def sample(
        self,
        logits: NDArray[np.float32],
        slots: NDArray[np.int32],
        rows: NDArray[np.int32] | None = None,
        *,
        masks: NDArray[np.int32] | None = None,
        mask_rows: NDArray[np.int32] | None = None,
    ) -> Draws: ...
    def advance(self, slot: int, tokens: Sequence[int] | NDArray[np.int32]) -> None: ...
    def score(
        self,
        logits: NDArray[np.float32],
        tokens: Sequence[int] | NDArray[np.int32],
        *,
        logprobs: int = 0,
    ) -> Scores: ...
    def distribution(
        self, logits: NDArray[np.float32], slot: int, mask: NDArray[np.int32] | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]: ...

def philox4x32(counter: Sequence[int], key: Sequence[int]) -> tuple[int, int, int, int]: ...
def uniform(seed: int, stream: int, position: int) -> float: ...
