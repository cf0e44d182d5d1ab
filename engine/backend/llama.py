"""A backend over one llama.cpp context, through the low-level functions of llama-cpp-python."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from engine.backend.base import BackendError, Batch
from engine.backend.cache_types import DEFAULT_CACHE_TYPE, is_quantized
from engine.backend.ggml import type_number
from engine.backend.invariance import NEVER
from engine.backend.llama_log import lib, load_errors
from engine.backend.probe import batch_invariance, try_widths
from engine.errors import ModelLoadError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from engine.backend.base import SavedPrefix
    from engine.backend.cache_types import CacheType, FlashAttention
    from engine.backend.invariance import BatchInvariance
    from engine.backend.llama_model import LlamaModel

_SCORED = 64
"""Rows of logits for the tokens of prompts that are scored."""
_PADDING = 3
"""Tokens of padding that may make a step cheaper: most kernels for CPUs take rows by four at most."""
_DRAFTED = 16
"""Tokens that are guessed in a step: on a CPU, more would hardly be cheaper."""
_MOST_PADDING = 31
"""Most tokens of padding in a step that is batch-invariant: some kernels take rows by sixteen."""
_PIECE = 256
"""Tokens that are copied out of the cache at once."""
_RESERVE = 256
"""Cells for the sequences that the backend needs: what is padded, saved or restored fits into them."""
_FLASH_ATTENTION = {
    "auto": lib.LLAMA_FLASH_ATTN_TYPE_AUTO,
    "on": lib.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    "off": lib.LLAMA_FLASH_ATTN_TYPE_DISABLED,
}


@dataclass(frozen=True, slots=True)
class LlamaOptions:
    """How a model is loaded; every value is already chosen, none is "automatic"."""

    n_slots: int
    prefix_cache: bool
    n_cells: int
    n_batch: int
    n_threads: int
    n_gpu_layers: int
    batch_invariant: Literal["auto", "on", "off"] = "auto"
    """Whether steps are made batch-invariant: where that is free, wherever it is possible, or nowhere."""
    tried_widths: Mapping[int, bool] = field(default_factory=dict)
    """What is known of the model's kernels; see :mod:`engine.backend.probe`."""
    n_ubatch: int = 0
    """Most tokens that llama.cpp computes at once, 64 or more; 0: as many as a batch has."""
    flash_attn: FlashAttention = "auto"
    cache_type_k: CacheType = DEFAULT_CACHE_TYPE
    cache_type_v: CacheType = DEFAULT_CACHE_TYPE
    """A quantized type needs flash attention."""


class LlamaBackend:
    """A :class:`engine.backend.base.Backend` over one llama.cpp context with a unified KV cache."""

    def __init__(self, model: LlamaModel, options: LlamaOptions) -> None:
        self.model = model
        self.options = options
        self.info = model.info
        self.tokenize = model.tokenize
        self.apply_chat_template = model.apply_chat_template
        params = _context_params(options)
        with load_errors() as errors:
            self._context: Any = lib.llama_init_from_model(model.handle, params)
        if not self._context:
            raise ModelLoadError(
                f"llama.cpp cannot hold {options.n_slots} sequences in {options.n_cells} tokens of context: "
                f"{errors.reason or 'it gives no reason'}.",
                hint=_hint(options),
            )
        self._memory = lib.llama_get_memory(self._context)
        self.n_slots = options.n_slots
        self.prefix_cache = options.prefix_cache and model.can_cut
        # llama.cpp leaves out what a sliding window has passed, seen from the end of what it saves: pieces
        # that are no longer than the window are whole.
        window = int(lib.llama_model_n_swa(model.handle))
        self._piece_length = min(_PIECE, window) if window else _PIECE
        self._spare = options.n_slots  # one more sequence, to save and restore by
        self._deferred = options.n_slots + 1  # and another, for cells that are nobody's
        self.n_cells = int(lib.llama_n_ctx(self._context)) - _RESERVE
        self.n_batch = int(lib.llama_n_batch(self._context))
        self._pieces: dict[int, bytes] = {}
        self._wire: _WireBatch | None = None
        self.n_scored = min(_SCORED, self.n_batch)
        self._view = _LogitsView(options.n_slots + self.n_scored, self.info.n_vocab)
        self._n_rows = 0
        self.is_asynchronous = options.n_gpu_layers != 0 and bool(lib.llama_supports_gpu_offload())
        self.tried_widths = dict(options.tried_widths)
        self.batch_invariance, self.why_not_batch_invariant = self._find_batch_invariance(options)
        # A recurrent model takes texts of one length at once, and padding is a text of its own.
        self.n_drafted = min(_DRAFTED, self.n_batch - options.n_slots) if model.can_cut else 0
        self.n_padding = _PADDING + max(0, self.batch_invariance.rows(1) - 1) if model.can_cut else 0

    def _find_batch_invariance(self, options: LlamaOptions) -> tuple[BatchInvariance, str]:
        """Return how steps are made batch-invariant, or that they are not, and why."""
        if options.batch_invariant == "off":
            return NEVER, "as asked"
        if options.n_gpu_layers:
            return NEVER, "layers on a GPU are not batch-invariant"
        if not self.model.can_cut:
            return NEVER, "its memory cannot be cut"
        if options.flash_attn == "off":  # a sum over all cells, in an order that others' cells change
            return NEVER, "attention is batch-invariant only as flash attention"
        free_only = options.batch_invariant == "auto"
        self.tried_widths = try_widths(self, self.tried_widths, free_only=free_only)
        found = batch_invariance(self.tried_widths, self.n_batch)
        if free_only and not found.is_free:
            return NEVER, "its kernels are not batch-invariant; --batch-invariant on pads its steps"
        return found, "its kernels are not batch-invariant in steps of any width"

    @property
    def n_graphs_reused(self) -> int:
        return int(lib.llama_perf_context(self._context).n_reused)

    def piece(self, token: int) -> bytes:
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self.model.piece(token)
        return piece

    def special_text(self, token: int) -> bytes:
        return self.model.piece(token, special=True)

    def pieces(self) -> list[bytes]:
        return self.model.pieces()

    def native_tokenizer(self) -> tuple[int, int]:
        return self.model.native_tokenizer()

    def start(self, batch: Batch) -> None:
        if self._wire is None or self._wire.batch is not batch:
            self._wire = _WireBatch(batch)
        status = self._run(batch, self._wire)
        if status != 0:
            raise BackendError(f"llama_decode returned {status} for a batch of {batch.size} tokens")
        self._n_rows = batch.n_rows

    def logits(self) -> NDArray[np.float32]:
        if self._n_rows == 0:
            return np.empty((0, self.info.n_vocab), np.float32)
        return self._view.over(lib.llama_get_logits(self._context))[: self._n_rows]

    def _run(self, batch: Batch, wire: _WireBatch) -> int:
        if not batch.padding.tokens:
            return int(lib.llama_decode(self._context, wire.struct(batch.size)))
        # What is decoded for nobody are the first tokens of a text that is forgotten again.
        tokens, rows = batch.padding
        start, end = batch.size, batch.size + tokens
        batch.tokens[start:end] = batch.tokens[0]
        batch.positions[start:end] = range(tokens)
        batch.slots[start:end] = self._spare
        batch.wants_logits[start : start + rows] = 1
        batch.wants_logits[start + rows : end] = 0
        status = int(lib.llama_decode(self._context, wire.struct(end)))
        self.truncate(self._spare, 0)
        return status

    def copy(self, source: int, target: int, length: int) -> None:
        lib.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def truncate(self, slot: int, length: int) -> None:
        if not lib.llama_memory_seq_rm(self._memory, slot, length, -1):
            raise BackendError(f"the cache of slot {slot} cannot be cut at {length}")

    def defer_free(self, slot: int) -> None:
        lib.llama_memory_seq_cp(self._memory, slot, self._deferred, -1, -1)
        self.truncate(slot, 0)

    def free_deferred(self) -> None:
        self.truncate(self._deferred, 0)

    def save(self, slot: int, length: int) -> SavedPrefix:
        step = self._piece_length
        return tuple(
            self._save_piece(slot, start, min(start + step, length)) for start in range(0, length, step)
        )

    def restore(self, slot: int, saved: SavedPrefix, length: int) -> None:
        for piece in saved[: -(-length // self._piece_length)]:
            if not lib.llama_state_seq_set_data(self._context, _bytes_of(piece), piece.size, self._spare):
                raise BackendError(f"{piece.size} bytes cannot be copied into the cache for slot {slot}")
            lib.llama_memory_seq_cp(self._memory, self._spare, slot, -1, -1)
            self.truncate(self._spare, 0)
        self.truncate(slot, length)

    def _save_piece(self, slot: int, start: int, end: int) -> NDArray[np.uint8]:
        """Copy some positions out of the cache, by way of the spare sequence, which holds nothing else."""
        lib.llama_memory_seq_cp(self._memory, slot, self._spare, start, end)
        piece = np.empty(lib.llama_state_seq_get_size(self._context, self._spare), np.uint8)
        size = lib.llama_state_seq_get_data(self._context, _bytes_of(piece), piece.size, self._spare)
        self.truncate(self._spare, 0)
        if size != piece.size:
            raise BackendError(f"positions {start} to {end} of slot {slot} cannot be copied out of the cache")
        return piece

    def used_cells(self, slot: int) -> int:
        first = lib.llama_memory_seq_pos_min(self._memory, slot)
        last = lib.llama_memory_seq_pos_max(self._memory, slot)
        return 0 if last < 0 else int(last - first + 1)

    def close(self) -> None:
        if self._context:
            lib.llama_free(self._context)
            self._context = None


class _WireBatch:
    """llama.cpp's batch struct over the arrays of a :class:`Batch`: made once, and nothing is copied."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self._counts = np.ones(batch.capacity, np.int32)
        # llama.cpp wants a pointer to each token's list of sequences; ours are one long, one after another.
        self._lists = (batch.slots.ctypes.data + 4 * np.arange(batch.capacity)).astype(np.uintp)
        self._struct = lib.llama_batch()
        self._struct.token = _pointer(batch.tokens, ctypes.POINTER(lib.llama_token))
        self._struct.pos = _pointer(batch.positions, ctypes.POINTER(lib.llama_pos))
        self._struct.n_seq_id = _pointer(self._counts, ctypes.POINTER(lib.llama_pos))
        self._struct.seq_id = _pointer(self._lists, ctypes.POINTER(ctypes.POINTER(lib.llama_seq_id)))
        self._struct.logits = _pointer(batch.wants_logits, ctypes.POINTER(ctypes.c_int8))

    def struct(self, size: int) -> Any:
        """Return the batch's first tokens."""
        self._struct.n_tokens = size
        return self._struct


class _LogitsView:
    """llama.cpp's rows of logits as an array, which is made anew only where they have moved."""

    def __init__(self, rows: int, n_vocab: int) -> None:
        self._shape = (rows, n_vocab)
        self._address = 0
        self._array = np.empty((0, n_vocab), np.float32)

    def over(self, logits: Any) -> NDArray[np.float32]:
        """Return all rows that a decode may leave, whether they are in use or not."""
        address = ctypes.addressof(logits.contents)
        if address != self._address:
            self._array = np.ctypeslib.as_array(logits, shape=self._shape)
            self._address = address
        return self._array


def _bytes_of(array: NDArray[np.uint8]) -> Any:
    return _pointer(array, ctypes.POINTER(ctypes.c_uint8))


def _pointer(array: NDArray[Any], kind: Any) -> Any:
    return ctypes.cast(array.ctypes.data, kind)


def _hint(options: LlamaOptions) -> str:
    if is_quantized(options.cache_type_k) or is_quantized(options.cache_type_v):
        return "Leave out --cache-type-k and --cache-type-v, or try a smaller --ctx-size."
    return "Less memory is needed with a smaller --ctx-size."


def _context_params(options: LlamaOptions) -> Any:
    params = lib.llama_context_default_params()
    params.n_ctx = options.n_cells + _RESERVE
    params.n_batch = options.n_batch
    params.n_ubatch = options.n_ubatch or options.n_batch
    params.flash_attn_type = _FLASH_ATTENTION[options.flash_attn]
    params.type_k, params.type_v = type_number(options.cache_type_k), type_number(options.cache_type_v)
    params.n_seq_max = options.n_slots + 2  # two that the backend needs
    scored = min(_SCORED, options.n_batch)
    params.n_outputs_max = options.n_slots + scored + _MOST_PADDING  # by default, a batch
    params.n_threads = params.n_threads_batch = options.n_threads
    params.kv_unified = True  # sharing a prompt between sequences is then a matter of metadata
    params.swa_full = True  # a sliding window's cache can otherwise not be cut or shared
    return params
