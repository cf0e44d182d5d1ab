"""The seam between the step loop and whatever turns tokens into logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class BackendError(RuntimeError):
    """A decode failed; the sequences of that batch have no usable KV cache."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a loaded model says about itself."""

    description: str
    n_vocab: int
    """Width of a logits row, which is what bounds a token id; not the tokenizer's length."""
    n_ctx_train: int
    n_params: int
    n_bytes: int
    bos_token: int | None
    eos_token: int | None
    eog_tokens: frozenset[int]
    """Every token that ends a generation."""
    chat_template: str | None


class Batch:
    """The tokens of one step, in arrays that are allocated once.

    Attributes:
        tokens, positions, slots: int32 ``[capacity]``, of which the first ``size`` are in use.
        wants_logits: int8 ``[capacity]``, 1 where the decode leaves a row of logits.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.size = 0
        self.tokens = np.zeros(capacity, np.int32)
        self.positions = np.zeros(capacity, np.int32)
        self.slots = np.zeros(capacity, np.int32)
        self.wants_logits = np.zeros(capacity, np.int8)

    def clear(self) -> None:
        self.size = 0

    def add(self, slot: int, start: int, tokens: Sequence[int], *, wants_logits: bool) -> None:
        """Append ``tokens`` of one slot from position ``start`` on; logits are those of the last one."""
        begin, end = self.size, self.size + len(tokens)
        if end > self.capacity:
            raise ValueError(f"a batch holds {self.capacity} tokens, not {end}")
        if len(tokens) == 1:  # a decode: plain stores are cheaper than slices
            self.tokens[begin] = tokens[0]
            self.positions[begin] = start
        else:
            self.tokens[begin:end] = tokens
            self.positions[begin:end] = range(start, start + len(tokens))
        self.slots[begin:end] = slot
        self.wants_logits[begin:end] = 0
        self.wants_logits[end - 1] = wants_logits
        self.size = end


class Backend(Protocol):
    """A model with a KV cache of ``n_cells`` tokens.

    The cache holds up to ``n_slots`` texts, of which up to ``n_parallel`` run at once; texts that begin alike
    share their cells. Where ``keeps_texts`` is false, a text cannot be cut, and so is of no use to another.

    ``tokenize``, ``piece`` and ``apply_chat_template`` only read the vocabulary and may be called from any
    thread. Everything else belongs to the engine thread.
    """

    info: ModelInfo
    n_slots: int
    n_parallel: int
    keeps_texts: bool
    n_cells: int
    n_batch: int

    def tokenize(self, text: str, *, add_special: bool = True) -> list[int]:
        """Return the token ids of ``text``; special tokens written in it are recognised."""

    def piece(self, token: int) -> bytes:
        """Return the bytes that ``token`` adds to the text; none for a control token."""

    def special_text(self, token: int) -> bytes:
        """Return the bytes that name ``token``, also where it adds nothing to the text."""

    def apply_chat_template(self, messages: Sequence[tuple[str, str]]) -> str | None:
        """Return the prompt for (role, content) pairs, or None where the model has no usable template."""

    def decode(self, batch: Batch) -> NDArray[np.float32]:
        """Run the model; return a view, float32 ``[rows, n_vocab]``, valid until the next call.

        Raises:
            BackendError: the batch could not be computed.
        """

    def copy(self, source: int, target: int, length: int) -> None:
        """Let slot ``target`` share the first ``length`` positions of slot ``source``."""

    def truncate(self, slot: int, length: int) -> None:
        """Forget the positions of ``slot`` from ``length`` on."""

    def used_cells(self, slot: int) -> int:
        """Return how many positions of ``slot`` the cache holds."""

    def close(self) -> None:
        """Free the context and its cache; only reading the vocabulary works afterwards."""
