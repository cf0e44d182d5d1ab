"""What the benchmarks ask: windows of texts in several languages and of code, each new to the server."""

from __future__ import annotations

import random
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

PROMPT_TOKENS = 24
MAX_TOKENS = 64

PASSAGES = Path(__file__).with_name("passages.txt").read_text(encoding="utf-8").split("\n----\n")
"""Texts in nine languages and four programming languages, written for this purpose."""

SAMPLING: dict[str, Any] = {
    "temperature": 0.8,
    "top_p": 0.95,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "top_k": 0,
    "min_p": 0.0,
}
"""How requests draw: as the contract says, also where a server would add filters of its own."""

_SEED = 20_240_601
_WINDOW = 120  # bytes, which are more alike in tokens than characters are


class Prompts:
    """A supply of several hundred prompts in tokens, the same in every run.

    Each has :data:`PROMPT_TOKENS` tokens, so that every round is the same work, and no two begin with the
    same eight, so that next to nothing can come out of a prefix cache.

    Args:
        tokenize: The model's own.
    """

    def __init__(self, tokenize: Callable[[str], list[int]]) -> None:
        self._tokenize = tokenize
        self._random = random.Random(_SEED)  # noqa: S311 - not for secrets
        self._passages: list[str] = []
        self._openings: set[tuple[int, ...]] = set()

    def take(self, count: int) -> list[list[int]]:
        """Return the token ids of ``count`` new prompts, of as many passages as there are."""
        return [self._next() for _ in range(count)]

    def _next(self) -> list[int]:
        while True:
            if not self._passages:
                self._passages = self._random.sample(PASSAGES, len(PASSAGES))
            passage = self._passages.pop()
            start = self._random.randrange(len(passage) // 2)
            tokens = self._tokenize(passage[start:])[:PROMPT_TOKENS]
            opening = tuple(tokens[:8])
            if len(tokens) == PROMPT_TOKENS and opening not in self._openings:
                self._openings.add(opening)
                return tokens


class Questions:
    """A supply of streamed requests: the same passages in the same order for every server and every run.

    Each begins with a random name, so that no prefix cache has seen it, whatever ran before.

    Args:
        model: The name that the server answers to.
        logprobs: Alternatives to ask for with each token, or None.
        max_tokens: Tokens of an answer on average; they differ, so that the answers do not end all at once.
    """

    def __init__(self, model: str, logprobs: int | None = None, max_tokens: int = MAX_TOKENS) -> None:
        streamed = {"stream": True, "stream_options": {"include_usage": True}}
        self._fields = {"model": model, **SAMPLING, **streamed}
        if logprobs is not None:
            self._fields["logprobs"] = logprobs
        self._max_tokens = max_tokens
        self._random = random.Random(_SEED)  # noqa: S311 - not for secrets

    def next(self) -> dict[str, Any]:
        """Return the fields of a new request."""
        passage = self._random.choice(PASSAGES)
        start = self._random.randrange(len(passage) // 2)
        window = passage[start:].encode()[:_WINDOW].decode(errors="ignore")
        max_tokens = self._random.randint(self._max_tokens // 4, self._max_tokens * 7 // 4)
        prompt = f"{secrets.token_hex(8)} is its name. {window}"
        return {**self._fields, "max_tokens": max_tokens, "prompt": prompt}
