"""The table of a vocabulary's bytes, as llguidance needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llguidance import LLTokenizer, TokenizerWrapper

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

_SPECIAL = b"\xff<%d>"
"""How a token is written that is no text: no UTF-8 has this byte. Nothing refers to its name."""
_PROBES = (
    "a",
    " a",
    "  a  b ",
    "\n\ta",
    "\u2581a\u2581",
    "e\u0301\ufb01\uff21",
    "天😀",
    "".join(map(chr, range(1, 256))),
)
"""Texts that some kinds of vocabularies change: spaces, SentencePiece's own space, what is normalized."""


def tokenizer_of(
    pieces: Sequence[bytes],
    *,
    special: Collection[int],
    ends: Collection[int],
    tokenize: Callable[[str], Sequence[int]],
    native: tuple[int, int] | None = None,
) -> LLTokenizer:
    """Return llguidance's tokenizer for a vocabulary.

    Args:
        pieces: The bytes of each token, which may be empty.
        special: The tokens that are no text. None of them is ever allowed, unless it ends an answer.
        ends: The tokens that end an answer.
        tokenize: The tokens of a text, without any added at its beginning or its end.
        native: The addresses of a llama.cpp vocabulary and of ``llama_tokenize``, to call no Python.

    Raises:
        ValueError: There is no token to end an answer with.

    Example:
        >>> letters = [bytes([byte]) for byte in range(256)]
        >>> tokenizer = tokenizer_of([*letters, b""], special={256}, ends={256}, tokenize=str.encode)
        >>> tokenizer.vocab_size
        257
    """
    if not ends:
        raise ValueError("a grammar needs a token that ends an answer")
    table = [_SPECIAL % i if i in special or i in ends else piece for i, piece in enumerate(pieces)]
    if native is not None:
        found = _native(table, sorted(ends), native)
        if found is not None:
            return found
    return LLTokenizer(_Wrapper(table, tokenize, ends=sorted(ends)), eos_token=sorted(ends))


def _native(table: list[bytes], ends: list[int], native: tuple[int, int]) -> LLTokenizer | None:
    """Return a tokenizer that calls llama.cpp, if its tokens give every text back as it was."""
    vocab, function = native
    try:
        tokenizer: LLTokenizer = LLTokenizer.from_llamacpp(  # type: ignore[attr-defined]
            tokens=table, vocab_ptr=vocab, tokenize_fptr=function, eos_token=ends
        )
    except ValueError:
        return None
    exact = all(tokenizer.decode_bytes(tokenizer.tokenize_str(text)) == text.encode() for text in _PROBES)
    return tokenizer if exact else None


class _Wrapper(TokenizerWrapper):
    """What llguidance calls for the tokens of a text that is forced."""

    def __init__(self, table: list[bytes], tokenize: Callable[[str], Sequence[int]], ends: list[int]) -> None:
        self.is_tokenizer_wrapper = True
        self.bos_token_id = None
        self.special_token_ids = ()
        self.tokens = table
        self.eos_token_id = ends[0]
        self._tokenize = tokenize
        self._ids = {piece: i for i, piece in reversed([*enumerate(table)]) if piece}
        self._longest = max(map(len, table))

    def __call__(self, text: str) -> list[int]:
        tokens = [*self._tokenize(text)]
        if b"".join([self.tokens[token] for token in tokens]) == text.encode():
            return tokens
        return self._greedy(text.encode())

    def _greedy(self, raw: bytes) -> list[int]:
        """Return the longest tokens that are at each place, where the tokenizer changes a text."""
        tokens: list[int] = []
        begin = 0
        while begin < len(raw):
            for end in range(min(len(raw), begin + self._longest), begin, -1):
                if (token := self._ids.get(raw[begin:end])) is not None:
                    break
            else:
                break  # no token for this byte: what is before it is all that can be written
            tokens.append(token)
            begin = end
        return tokens
