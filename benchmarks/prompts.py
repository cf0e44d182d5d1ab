"""Prompts that no engine has seen before: windows of texts in several languages and of code."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PROMPT_TOKENS = 24

PASSAGES = Path(__file__).with_name("passages.txt").read_text(encoding="utf-8").split("\n----\n")
"""Texts in nine languages and four programming languages, written for this purpose."""


class Prompts:
    """A supply of several hundred prompts, the same in every run.

    Each has :data:`PROMPT_TOKENS` tokens, so that every round is the same work, and no two begin with the
    same eight, so that next to nothing can come out of a prefix cache.

    Args:
        tokenize: The model's own.
    """

    def __init__(self, tokenize: Callable[[str], list[int]]) -> None:
        self._tokenize = tokenize
        self._random = random.Random(20_240_601)  # noqa: S311 - not for secrets
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
