"""A model file loaded by llama.cpp: its weights, its vocabulary, and what it says about itself."""

from __future__ import annotations

import ctypes
import os
import re
import weakref
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from engine.backend.base import GapTokens, ModelInfo
from engine.backend.cell_size import cell_bytes
from engine.backend.kinds import metadata, why_not_generating
from engine.backend.llama_log import lib, load_errors, start_library
from engine.errors import ModelLoadError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["LlamaModel", "lib", "supports_gpu"]

_SHORT_TEXTS = ("a", "A", "0")
"""Nearly every vocabulary has tokens for the first of them."""
_SPACE_MARK = "\u2581"
_BYTES_OF_MARK = ("\u2fe0", "\U0010f581")
"""Letters without a meaning or a token: one begins with U+2581's first byte, one ends in its others."""
_SPM = 1
_UNKNOWN, _CONTROL, _USER_DEFINED = 1, 8, 16
"""llama.cpp's numbers for a kind of vocabulary, and for attributes of tokens."""
_N_TENSORS = slice(8, 16)
"""Where a GGUF file says how many tensors it has."""


def supports_gpu() -> bool:
    """Return True if this llama.cpp was built with a GPU backend that found a device."""
    return bool(lib.llama_supports_gpu_offload())


class LlamaModel:
    """The weights and the vocabulary: read-only, and safe to use from any thread."""

    def __init__(self, path: Path, *, n_gpu_layers: int = 0) -> None:
        start_library()
        self.handle: Any = _load(path, n_gpu_layers)
        # Freed with the object and not before: other threads tokenize for as long as they can reach it.
        # Not at exit either, where the engine thread may still be decoding.
        weakref.finalize(self, _free, self.handle, os.getpid()).atexit = False
        self.vocab: Any = lib.llama_model_get_vocab(self.handle)
        self.info = replace(_describe(self.handle, self.vocab), **self._surroundings())
        self.cell_bytes = cell_bytes(self.handle)
        """Bytes that one token takes in the KV cache, or 0 where the model does not tell."""
        self.can_cut = not (
            lib.llama_model_is_recurrent(self.handle) or lib.llama_model_is_hybrid(self.handle)
        )
        """Whether the memory of a text can be cut at any token; a recurrent state cannot."""

    def tokenize(self, text: str, *, add_special: bool = True) -> list[int]:
        if _SPACE_MARK not in text or not self._mark_tokens:
            return self._tokenize(text, add_special=add_special)
        stand_in = next((letter for letter in self._stand_ins if letter not in text), None)
        if stand_in is None:
            return self._tokenize(text, add_special=add_special)
        tokens = self._tokenize(text.replace(_SPACE_MARK, stand_in), add_special=add_special)
        return _replaced(tokens, self._stand_ins[stand_in], self._mark_tokens)

    def _tokenize(self, text: str, *, add_special: bool) -> list[int]:
        raw = text.encode()
        capacity = len(raw) + 2  # never more tokens than bytes, and at most a BOS and an EOS
        ids = (lib.llama_token * capacity)()
        count = lib.llama_tokenize(self.vocab, raw, len(raw), ids, capacity, add_special, True)
        if count < 0:
            ids = (lib.llama_token * -count)()
            count = lib.llama_tokenize(self.vocab, raw, len(raw), ids, -count, add_special, True)
        return list(ids[:count])

    def piece(self, token: int, *, special: bool = False) -> bytes:
        buffer = ctypes.create_string_buffer(64)
        size = lib.llama_token_to_piece(self.vocab, token, buffer, 64, 0, special)
        if size < 0:
            buffer = ctypes.create_string_buffer(-size)
            size = lib.llama_token_to_piece(self.vocab, token, buffer, -size, 0, special)
        return buffer.raw[:size]

    def pieces(self) -> list[bytes]:
        buffer = ctypes.create_string_buffer(64)
        view = memoryview(buffer)
        found = []
        for token in self._tokens():
            size = lib.llama_token_to_piece(self.vocab, token, buffer, 64, 0, False)
            found.append(bytes(view[:size]) if size >= 0 else self.piece(token))
        return found

    def native_tokenizer(self) -> tuple[int, int]:
        function = ctypes.cast(lib.llama_tokenize, ctypes.c_void_p).value
        return int(ctypes.cast(self.vocab, ctypes.c_void_p).value or 0), int(function or 0)

    def apply_chat_template(
        self, messages: Sequence[tuple[str, str]], *, add_generation_prompt: bool
    ) -> str | None:
        if self.info.chat_template is None:
            return None
        encoded = [(role.encode(), content.encode()) for role, content in messages]
        chat = (lib.llama_chat_message * len(encoded))(*(lib.llama_chat_message(*pair) for pair in encoded))
        template = self.info.chat_template.encode()
        size = 256 + 2 * sum(len(role) + len(content) for role, content in encoded)
        for _ in range(2):  # the first answer may say that the buffer is too small
            buffer = ctypes.create_string_buffer(size)
            needed = lib.llama_chat_apply_template(
                template, chat, len(encoded), add_generation_prompt, buffer, size
            )
            if needed <= size:
                return buffer.raw[:needed].decode() if needed >= 0 else None
            size = needed
        return None

    def _surroundings(self) -> dict[str, Any]:
        """Return what the model puts around a text, as fields of :class:`ModelInfo`."""
        known = next((text for text in _SHORT_TEXTS if self._tokenize(text, add_special=False)), "")
        plain, whole = (self._tokenize(known, add_special=added) for added in (False, True))
        n_added = len(whole) - len(plain)
        before = next((i for i in range(n_added) if plain and whole[i : i + len(plain)] == plain), n_added)
        adds_space = bool(plain) and self.piece(plain[0]).startswith(b" ")
        return {
            "n_before": before,
            "n_behind": n_added - before,
            "adds_space_after": self._borders() if adds_space else None,
        }

    def _borders(self) -> frozenset[int]:
        """Return the tokens that llama.cpp finds in a text before it tokenizes what is between them."""
        kinds = _CONTROL | _USER_DEFINED
        if lib.llama_vocab_type(self.vocab) == _SPM:  # others also write it for what they do not know
            kinds |= _UNKNOWN
        return frozenset(token for token in self._tokens() if self._attributes(token) & kinds)

    @cached_property
    def _mark_tokens(self) -> list[int]:
        """The tokens for U+2581 in bytes, where the vocabulary takes it for a space; otherwise none.

        SentencePiece writes spaces with this letter, so that a text that holds it would come out with spaces.
        """
        raw = _SPACE_MARK.encode()
        if raw in b"".join(map(self.piece, self._tokenize(_SPACE_MARK, add_special=False))):
            return []
        first, rest = (self._in_bytes(letter) for letter in _BYTES_OF_MARK)
        tokens = first[:1] + rest[-2:]
        return tokens if b"".join(map(self.piece, tokens)) == raw else []

    @cached_property
    def _stand_ins(self) -> dict[str, list[int]]:
        """Letters that mean nothing and have no token, so that they stay apart from what is around them."""
        letters = {letter: self._in_bytes(letter) for letter in map(chr, range(0xFDD0, 0xFDF0))}
        return {letter: tokens for letter, tokens in letters.items() if tokens}

    def _in_bytes(self, letter: str) -> list[int]:
        """Return the tokens of a letter that is tokenized byte by byte; none if it is not."""
        raw = letter.encode()
        tokens = self._tokenize(letter, add_special=False)[-len(raw) :]
        return tokens if [*map(self.piece, tokens)] == [bytes([byte]) for byte in raw] else []

    def _tokens(self) -> range:
        return range(int(lib.llama_vocab_n_tokens(self.vocab)))

    def _attributes(self, token: int) -> int:
        return int(lib.llama_vocab_get_attr(self.vocab, token))


def kernels() -> str:
    """Return which instructions of this processor llama.cpp's kernels use, as it lists them."""
    return bytes(lib.llama_print_system_info()).decode()


def features() -> list[str]:
    """Return what llama.cpp was built with, such as ``["CPU", "AVX2", "FMA", "OPENMP"]``."""
    listed = (part.strip() for part in re.split("[|:]", kernels()))
    return [part.removesuffix(" = 1").replace(" = ", "=") for part in listed if part]


def _replaced(tokens: list[int], old: list[int], new: list[int]) -> list[int]:
    """Return tokens in which each run of ``old`` is ``new``."""
    replaced: list[int] = []
    for token in tokens:
        replaced.append(token)
        if replaced[-len(old) :] == old:
            replaced[-len(old) :] = new
    return replaced


def _load(path: Path, n_gpu_layers: int) -> Any:
    params = lib.llama_model_default_params()
    params.n_gpu_layers = n_gpu_layers
    with load_errors() as errors:
        model = lib.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        raise _load_error(path, errors.reason)
    reason = why_not_generating(model) or _impossible_context(model)
    if reason is not None:
        architecture = metadata(model, "general.architecture")
        lib.llama_model_free(model)
        raise ModelLoadError(
            f"{str(path)!r} cannot generate text: it is {reason} (architecture {architecture!r}).",
            hint="Choose a model that continues text.",
        )
    return model


def _load_error(path: Path, reason: str | None) -> ModelLoadError:
    with path.open("rb") as file:
        has_tensors = any(file.read(24)[_N_TENSORS])
    if not has_tensors:
        return ModelLoadError(f"{str(path)!r} cannot generate text: it is a vocabulary without weights.")
    if reason is None:
        return ModelLoadError(
            f"llama.cpp cannot load {str(path)!r}, and gives no reason.",
            hint="`nucleus serve --log-level debug` shows what llama.cpp says.",
        )
    return ModelLoadError(f"llama.cpp cannot load {str(path)!r}: {reason}.")


def _impossible_context(model: Any) -> str | None:
    trained = int(lib.llama_model_n_ctx_train(model))
    return None if trained >= 2 else f"said to be trained for {trained} tokens of context"


def _free(model: Any, process: int) -> None:
    """Free a model, but not from a forked child: the GPU that may hold it is its parent's."""
    if os.getpid() == process:
        lib.llama_model_free(model)


def _describe(model: Any, vocab: Any) -> ModelInfo:
    n_vocab = int(lib.llama_vocab_n_tokens(vocab))
    template = lib.llama_model_chat_template(model, None)
    return ModelInfo(
        description=_description(model),
        n_vocab=n_vocab,
        n_ctx_train=int(lib.llama_model_n_ctx_train(model)),
        n_bytes=int(lib.llama_model_size(model)),
        bos_token=_token_or_none(lib.llama_vocab_bos(vocab)),
        eos_token=_token_or_none(lib.llama_vocab_eos(vocab)),
        pad_token=_token_or_none(lib.llama_vocab_pad(vocab)),
        eog_tokens=frozenset(token for token in range(n_vocab) if lib.llama_vocab_is_eog(vocab, token)),
        chat_template=template.decode("utf-8", "replace") if template else None,
        gap_tokens=_gap_tokens(vocab),
    )


def _gap_tokens(vocab: Any) -> GapTokens | None:
    tokens = lib.llama_vocab_fim_pre(vocab), lib.llama_vocab_fim_suf(vocab), lib.llama_vocab_fim_mid(vocab)
    return GapTokens(*map(int, tokens)) if min(tokens) >= 0 else None


def _description(model: Any) -> str:
    """Return architecture, parameters and type of weights, as ``llama 135M Q4_1``.

    llama.cpp guesses the parameters from the number of layers; here they are counted. A type that the file
    does not tell is left out, as it would be guessed too.
    """
    text = ctypes.create_string_buffer(256)
    lib.llama_model_desc(model, text, 256)
    architecture, _size, weights = text.value.decode("utf-8", "replace").split(" ", 2)
    told = [weights] if metadata(model, "general.file_type") else []
    return " ".join([architecture, _format_count(lib.llama_model_n_params(model)), *told])


def _format_count(count: int) -> str:
    """Return a number with three digits that count, as ``135M``."""
    for size, letter in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= size:
            return f"{float(f'{count / size:.3g}'):g}{letter}"
    return str(count)


def _token_or_none(token: int) -> int | None:
    return int(token) if token >= 0 else None
