"""Small vocabularies of every kind that llama.cpp loads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from gguf import TokenType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gguf import GGUFWriter

SPACE = "\u2581"
"""What a SentencePiece vocabulary writes for a space."""
WORDS = ["Hello", "hello", "the", "world", "sky", "is", "blue", "Once", "upon", "a", "time"]
LETTERS = "abcdefghijklmnopqrstuvwxyzHOT0123456789.,!?<>|/\n"
OTHERS = ["天", "气", "é", "ß"]
"""Characters with a token of their own; every other one is written in bytes, where a vocabulary has bytes."""

Token = tuple[bytes, TokenType]
Text = TypeVar("Text", str, bytes)


@dataclass(frozen=True)
class Vocabulary:
    """What a GGUF file says about its tokens."""

    kind: str
    tokens: list[Token]
    scores: list[float] | None = None
    merges: list[str] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    """Other keys under ``tokenizer.ggml.``; an int is a token id."""

    def __len__(self) -> int:
        return len(self.tokens)

    def write(self, writer: GGUFWriter) -> None:
        writer.add_tokenizer_model(self.kind)
        if self.tokens:
            writer.add_token_list([text for text, _ in self.tokens])
            writer.add_token_types([kind for _, kind in self.tokens])
        if self.scores is not None:
            writer.add_token_scores(self.scores)
        if self.merges is not None:
            writer.add_token_merges(self.merges)
        for name, value in self.settings.items():
            key = f"tokenizer.ggml.{name}"
            if isinstance(value, bool):
                writer.add_bool(key, value)
            elif isinstance(value, str):
                writer.add_string(key, value)
            else:
                writer.add_uint32(key, value)


def spm(
    *, adds_space: bool = True, adds_bos: bool = True, adds_eos: bool = False, has_bytes: bool = True
) -> Vocabulary:
    """A vocabulary as SentencePiece makes it: Llama-2's with ``adds_space``, Gemma's without."""
    special = [
        (b"<unk>", TokenType.UNKNOWN),
        (b"<s>", TokenType.CONTROL),
        (b"</s>", TokenType.CONTROL),
        (b"<user>", TokenType.USER_DEFINED),
    ]
    in_bytes = [(b"<0x%02X>" % byte, TokenType.BYTE) for byte in range(256)] if has_bytes else []
    whole = _unique([SPACE, SPACE * 2, SPACE * 3, *LETTERS, *OTHERS, *_spelled(WORDS)])
    normal = [(text.encode(), TokenType.NORMAL) for text in whole]
    tokens = [*special, *in_bytes, *normal]
    scores = [0.0] * (len(tokens) - len(normal)) + [len(text) - 100.0 for text in whole]
    settings = {"bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0}
    flags = {"add_space_prefix": adds_space, "add_bos_token": adds_bos, "add_eos_token": adds_eos}
    return Vocabulary("llama", tokens, scores, settings=settings | flags)


def bpe(pre: str, *, adds_bos: bool = False, more: Iterable[str] = ()) -> Vocabulary:
    """A byte-level vocabulary, which cuts texts as ``pre`` does before it merges; with ``more`` words."""
    letters = [_byte_letter(byte) for byte in range(256)]
    merges: list[str] = []
    merged: list[str] = []
    for word in (*WORDS, *(f" {word}" for word in WORDS), *OTHERS, *more):
        spelled = [_byte_letter(byte) for byte in word.encode()]
        for length in range(1, len(spelled)):
            merges.append(f"{''.join(spelled[:length])} {spelled[length]}")
            merged.append("".join(spelled[: length + 1]))
    tokens = [(text.encode(), TokenType.NORMAL) for text in _unique([*letters, *merged])]
    special = [(b"<|end|>", TokenType.CONTROL), (b"<|user|>", TokenType.USER_DEFINED)]
    end = len(tokens)
    settings = {"pre": pre, "bos_token_id": end, "eos_token_id": end, "add_bos_token": adds_bos}
    return Vocabulary("gpt2", tokens + special, merges=_unique(merges), settings=settings)


def wpm() -> Vocabulary:
    """A vocabulary as BERT has it: lower case, and nothing tells how words were spaced."""
    special = [b"[PAD]", b"[UNK]", b"[CLS]", b"[SEP]", b"[MASK]"]
    words = [word.lower() for word in WORDS]
    letters = LETTERS.lower()
    normal = _unique([*(SPACE + text for text in (*letters, *words)), *letters.strip(), *words])
    tokens = [(text, TokenType.CONTROL) for text in special]
    tokens += [(text.encode(), TokenType.NORMAL) for text in normal]
    ids = {"padding": 0, "unknown": 1, "bos": 2, "cls": 2, "seperator": 3, "mask": 4}
    settings = {"token_type_count": 2} | {f"{name}_token_id": value for name, value in ids.items()}
    return Vocabulary("bert", tokens, settings=settings)


def ugm() -> Vocabulary:
    """A unigram vocabulary as T5 has it, without bytes: it has no tokens for most characters."""
    special = [(b"<pad>", TokenType.CONTROL), (b"</s>", TokenType.CONTROL), (b"<unk>", TokenType.UNKNOWN)]
    whole = _unique([SPACE, *LETTERS, *OTHERS, *WORDS, *(SPACE + word for word in WORDS)])
    scores = [0.0] * 3 + [-12.0 + len(text) for text in whole]
    tokens = [*special, *((text.encode(), TokenType.NORMAL) for text in whole)]
    settings = {"padding_token_id": 0, "eos_token_id": 1, "unknown_token_id": 2, "add_space_prefix": True}
    return Vocabulary("t5", tokens, scores, settings=settings)


def rwkv() -> Vocabulary:
    """A vocabulary as RWKV has it: any bytes, the longest match first."""
    texts = _unique([*(bytes([byte]) for byte in range(1, 256)), *(w.encode() for w in _spelled(WORDS, " "))])
    tokens = [(b"<end>", TokenType.CONTROL), *((_escaped(text), TokenType.NORMAL) for text in texts)]
    return Vocabulary("rwkv", tokens, settings={"eos_token_id": 0})


def _spelled(words: Iterable[str], space: str = SPACE) -> list[str]:
    """Return all beginnings of the words, with a space before them and without."""
    whole = [text for word in words for text in (word, space + word)]
    return [text[:length] for text in whole for length in range(2, len(text) + 1)]


def _unique(texts: Iterable[Text]) -> list[Text]:
    return list(dict.fromkeys(texts))


def _byte_letter(byte: int) -> str:
    """Return the letter that byte-level vocabularies write for a byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    if byte in printable:
        return chr(byte)
    return chr(256 + [other for other in range(256) if other not in printable].index(byte))


def _escaped(raw: bytes) -> bytes:
    return "".join(f"\\x{byte:02x}" for byte in raw).encode()
