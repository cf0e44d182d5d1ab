"""A small vocabulary, texts held to a form, and texts written at random along its masks."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from engine.grammar.compiler import GrammarCompiler
from engine.grammar.form import GrammarError
from engine.grammar.tokenizer import tokenizer_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llguidance import LLTokenizer
    from numpy.typing import NDArray

    from engine.grammar.matcher import Matcher

LONGER = [
    b'": ',
    b'", "',
    b', "',
    b"true",
    b"false",
    b"null",
    b"12",
    b" the",
    "é".encode(),
    "天".encode(),
    b'"}',
    b"\\n",
]
PIECES = [*(bytes([byte]) for byte in range(256)), *LONGER, b"", b"", b"<tool>"]
"""Every byte, some longer tokens, one without bytes, the end, and one that is special."""
EMPTY, END, SPECIAL = len(PIECES) - 3, len(PIECES) - 2, len(PIECES) - 1
_IDS = {piece: token for token, piece in enumerate(PIECES[:EMPTY])}
_TOKEN = re.compile(b"|".join(map(re.escape, sorted(LONGER, key=len, reverse=True))) + rb"|[\x00-\xff]")
_CLOSING = frozenset(b'"]}')
"""What a walk prefers, to come to an end."""


def tokenize(text: str) -> list[int]:
    """Return the longest tokens."""
    return [_IDS[piece] for piece in _TOKEN.findall(text.encode())]


@cache
def vocabulary() -> LLTokenizer:
    return tokenizer_of(PIECES, special={SPECIAL}, ends={END}, tokenize=tokenize)


@cache
def compiler() -> GrammarCompiler:
    return GrammarCompiler(vocabulary())


def allowed(matcher: Matcher, n_vocab: int = len(PIECES)) -> NDArray[np.intp]:
    """Return the tokens of a matcher's mask."""
    mask = np.zeros((n_vocab + 31) // 32, np.uint32)
    matcher.fill(mask.ctypes.data, mask.nbytes)
    matcher.check()
    return np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))


def accepts(matcher: Matcher, text: str) -> bool:
    """Return True if a text, in the vocabulary's own tokens, has the form."""
    matcher = matcher.copy()
    for token in tokenize(text):
        if token not in allowed(matcher):
            return False
        matcher.take(token)
    return matcher.may_end


def walk(matcher: Matcher, rng: np.random.Generator, steps: int = 300) -> str | None:
    """Return a text written at random along the masks, or None if it found no end."""
    written = b""
    for _ in range(steps):
        tokens = allowed(matcher)
        assert not {EMPTY, SPECIAL} & {*tokens.tolist()}
        assert matcher.may_end == (END in tokens)
        if tokens.tolist() == [END] or (END in tokens and rng.random() < 0.5):
            return written.decode()
        token = _choice(tokens[tokens != END], rng)
        matcher.take(token)
        written += PIECES[token]
    return None


def _choice(tokens: NDArray[np.intp], rng: np.random.Generator) -> int:
    closing: Sequence[int] = [token for token in tokens.tolist() if PIECES[token][0] in _CLOSING]
    if closing and rng.random() < 0.4:
        return int(rng.choice(closing))
    plain = [token for token in tokens.tolist() if 32 <= PIECES[token][0] < 127]
    return int(rng.choice(plain if plain and rng.random() < 0.9 else tokens))


def refusal(kind: str, text: str) -> GrammarError:
    """Return the error that a form gives."""
    from engine.grammar.form import Form

    try:
        compiler().compile(Form(kind, text))  # type: ignore[arg-type]
    except GrammarError as error:
        return error
    raise AssertionError(f"{kind} is compiled: {text[:200]}")
