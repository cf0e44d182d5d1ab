"""The seam between the step loop and whatever turns tokens into logits."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.backend.invariance import NO_PADDING, Padding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.backend.invariance import BatchInvariance


SavedPrefix = tuple[NDArray[np.uint8], ...]
"""A text's part of the cache, outside of it; only the backend that made it can read it."""


class BackendError(RuntimeError):
    """A decode failed; the sequences of that batch have no usable KV cache."""


class GapTokens(NamedTuple):
    """The tokens between which a model that can fill a gap expects the text around it."""

    prefix: int
    suffix: int
    middle: int


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a loaded model says about itself."""

    description: str
    n_vocab: int
    """Width of a logits row, which is what bounds a token id; not the tokenizer's length."""
    n_ctx_train: int
    n_bytes: int
    bos_token: int | None
    eos_token: int | None
    pad_token: int | None
    eog_tokens: frozenset[int]
    """Every token that ends a generation."""
    chat_template: str | None
    gap_tokens: GapTokens | None = None
    n_before: int = 0
    """Tokens that the model puts before a text."""
    n_behind: int = 0
    """Tokens that it puts behind a text."""
    adds_space_after: frozenset[int] | None = None
    """Of a vocabulary that adds a space where a text begins, the tokens behind which one begins anew."""


class Batch:
    """The tokens of one step, in arrays that are allocated once.

    Attributes:
        tokens, positions, slots: int32 ``[capacity]``, of which the first ``size`` are in use.
        wants_logits: int8 ``[capacity]``, 1 where the decode leaves a row of logits.
        n_rows: How many of those there are.
        padding: What to decode behind them for nobody.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.size = self.n_rows = 0
        self.padding = NO_PADDING
        # Written through ctypes, which takes a few numbers faster than numpy does.
        self._tokens: Any = (ctypes.c_int32 * capacity)()
        self._positions: Any = (ctypes.c_int32 * capacity)()
        self._slots: Any = (ctypes.c_int32 * capacity)()
        self._wants_logits: Any = (ctypes.c_int8 * capacity)()
        self.tokens: NDArray[np.int32] = np.ctypeslib.as_array(self._tokens)
        self.positions: NDArray[np.int32] = np.ctypeslib.as_array(self._positions)
        self.slots: NDArray[np.int32] = np.ctypeslib.as_array(self._slots)
        self.wants_logits: NDArray[np.int8] = np.ctypeslib.as_array(self._wants_logits)

    def fill(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        slots: Sequence[int],
        wants_logits: Sequence[bool],
        *,
        padding: Padding = NO_PADDING,
    ) -> None:
        """Hold these tokens and nothing else; the columns are of one length.

        Raises:
            ValueError: they are more tokens than the batch holds.
        """
        size = len(tokens)
        if size + padding.tokens > self.capacity:
            raise ValueError(f"a batch holds {self.capacity} tokens, not {size + padding.tokens}")
        self._tokens[:size] = tokens
        self._positions[:size] = positions
        self._slots[:size] = slots
        self._wants_logits[:size] = wants_logits
        self.size, self.n_rows, self.padding = size, sum(wants_logits), padding


def decode(backend: Backend, batch: Batch) -> NDArray[np.float32]:
    """Take one step of the model, and return its rows.

    Raises:
        BackendError: the batch could not be computed.
    """
    backend.start(batch)
    return backend.logits()


class Backend(Protocol):
    """A model with a KV cache of ``n_cells`` tokens.

    The cache holds up to ``n_slots`` sequences; those that begin alike share their cells. Where
    ``prefix_cache`` is false, a sequence cannot be cut, and so no other can share a part of it. A decode
    leaves up to ``n_slots + n_scored`` rows; beside decodes it has up to ``n_padding`` tokens of padding
    and ``n_drafted`` guessed ones, 0 where a sequence cannot be cut. What padding and restoring take for a
    moment is the backend's own, beside the ``n_cells``.

    A step that is padded as ``batch_invariance`` says is batch-invariant: the logits of a token depend on its
    sequence alone, to the bit, as long as the sequence's cells are in order. A decode takes the first free
    cells, in the order of the batch. So the cells of a sequence are in order if no cell below its last one is
    freed while it runs.

    ``tokenize``, ``piece``, ``pieces``, ``special_text``, ``native_tokenizer`` and ``apply_chat_template``
    only read the vocabulary and may be called from any thread. Everything else belongs to the engine thread.
    """

    info: ModelInfo
    n_slots: int
    prefix_cache: bool
    n_cells: int
    n_batch: int
    n_scored: int
    n_padding: int
    n_drafted: int
    batch_invariance: BatchInvariance
    is_asynchronous: bool

    @property
    def n_graphs_reused(self) -> int:
        """How many decodes were so much like the one before that what was prepared for it was used again."""

    def tokenize(self, text: str, *, add_special: bool = True) -> list[int]:
        """Return the token ids of ``text``; special tokens written in it are recognised."""

    def piece(self, token: int) -> bytes:
        """Return the bytes that ``token`` adds to the text; none for a control token."""

    def pieces(self) -> list[bytes]:
        """Return the pieces of all tokens."""

    def special_text(self, token: int) -> bytes:
        """Return the bytes that name ``token``, also where it adds nothing to the text."""

    def native_tokenizer(self) -> tuple[int, int] | None:
        """Return the addresses of llama.cpp's vocabulary and of ``llama_tokenize``, where there are any."""

    def apply_chat_template(
        self, messages: Sequence[tuple[str, str]], *, add_generation_prompt: bool
    ) -> str | None:
        """Return the prompt for (role, content) pairs, or None where the model has no usable template.

        Args:
            messages: The chat.
            add_generation_prompt: Whether the prompt ends with what begins an answer.
        """

    def start(self, batch: Batch) -> None:
        """Run the model; where ``is_asynchronous``, return while it is running.

        The cache can be rearranged meanwhile: what is changed counts for the next step.

        Raises:
            BackendError: the batch could not be computed.
        """

    def logits(self) -> NDArray[np.float32]:
        """Wait for the step; return a view, float32 ``[rows, n_vocab]``, valid until the next one starts.

        Raises:
            BackendError: the batch could not be computed.
        """

    def copy(self, source: int, target: int, length: int) -> None:
        """Let slot ``target`` share the first ``length`` positions of slot ``source``."""

    def truncate(self, slot: int, length: int) -> None:
        """Forget the positions of ``slot`` from ``length`` on."""

    def defer_free(self, slot: int) -> None:
        """Empty ``slot``, but do not free its cells."""

    def free_deferred(self) -> None:
        """Free the cells whose freeing was deferred."""

    def save(self, slot: int, length: int) -> SavedPrefix:
        """Copy the first ``length`` positions of ``slot`` to memory.

        Raises:
            BackendError: it could not be copied.
        """

    def restore(self, slot: int, saved: SavedPrefix, length: int) -> None:
        """Let the empty ``slot`` hold the first ``length`` positions of what was saved.

        Raises:
            BackendError: there are not enough cells.
        """

    def close(self) -> None:
        """Free the context and its cache; only reading the vocabulary works afterwards."""
