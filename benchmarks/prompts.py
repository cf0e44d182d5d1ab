"""What the benchmarks ask: windows of texts in several languages and of code, each new to the server."""

from __future__ import annotations

import random
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


def token_prompts(tokenize: Callable[[str], list[int]]) -> Iterator[list[int]]:
    """Yield several hundred prompts of :data:`PROMPT_TOKENS` tokens, the same in every run.

    No two begin with the same eight tokens, so that next to nothing can come out of a prefix cache.
    """
    draw = random.Random(_SEED)  # noqa: S311 - not for secrets
    openings: set[tuple[int, ...]] = set()
    while True:
        for passage in draw.sample(PASSAGES, len(PASSAGES)):
            start = draw.randrange(len(passage) // 2)
            tokens = tokenize(passage[start:])[:PROMPT_TOKENS]
            opening = tuple(tokens[:8])
            if len(tokens) == PROMPT_TOKENS and opening not in openings:
                openings.add(opening)
                yield tokens


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
        scored = {} if logprobs is None else {"logprobs": logprobs}
        self._fields = {"model": model, **SAMPLING, **streamed, **scored}
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
