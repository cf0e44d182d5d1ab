"""Requests whose prompts no server has seen before."""

from __future__ import annotations

import random
import secrets
from typing import Any

from benchmarks.prompts import PASSAGES

SAMPLER = {
    "temperature": 0.8,
    "top_p": 0.95,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "top_k": 0,
    "min_p": 0.0,
}
"""How every request draws: as the contract says, also where a server would add filters of its own."""

MAX_TOKENS = 64
_WINDOW = 120  # bytes, which are more alike in tokens than characters are


class Questions:
    """An endless supply of requests: the same passages in the same order for every server and every run.

    Each begins with a random name, so that neither a prefix cache of a server that went through the same
    passages before, nor an earlier run's, has seen it.

    Args:
        model: The name that the server answers to.
        logprobs: Alternatives to ask for with each token, or None.
        max_tokens: Tokens of an answer on average; they differ, so that the answers do not end all at once.
    """

    def __init__(self, model: str, logprobs: int | None = None, max_tokens: int = MAX_TOKENS) -> None:
        self._fields: dict[str, Any] = {"model": model, **SAMPLER}
        self._max_tokens = max_tokens
        if logprobs is not None:
            self._fields["logprobs"] = logprobs
        self._random = random.Random(20_240_601)  # noqa: S311 - not for secrets

    def next(self) -> dict[str, Any]:
        """Return the fields of a new request."""
        passage = self._random.choice(PASSAGES)
        start = self._random.randrange(len(passage) // 2)
        window = passage[start:].encode()[:_WINDOW].decode(errors="ignore")
        max_tokens = self._random.randint(self._max_tokens // 4, self._max_tokens * 7 // 4)
        prompt = f"{secrets.token_hex(8)} is its name. {window}"
        return {**self._fields, "max_tokens": max_tokens, "prompt": prompt}
