"""How tokens and their logprobs are written in an answer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from engine.contract import Logprobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.backend.base import Backend
    from engine.core.sequence import TokenScore

_MINUS_INFINITY = -9999.0  # JSON has no infinities; the contract writes this one


class TokenNames:
    """The text of a token where it stands alone, remembered."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._names: dict[int, str] = {}

    def raw(self, token: int) -> bytes:
        """Return the token's bytes; of a control token, those of its name."""
        return self._backend.piece(token) or self._backend.special_text(token)

    def __getitem__(self, token: int) -> str:
        name = self._names.get(token)
        if name is None:
            name = self._names[token] = _written(self.raw(token))
        return name


def logprobs_of(scores: Sequence[TokenScore], alternatives: int, names: TokenNames) -> Logprobs:
    """Write the scores of consecutive tokens as the contract's four arrays.

    Args:
        scores: The tokens of a choice, or of a chunk of it.
        alternatives: How many alternatives were asked for; 0 leaves ``top_logprobs`` null.
        names: How tokens are written.
    """
    return Logprobs(
        tokens=[names[score.token] for score in scores],
        token_logprobs=[_finite(score.logprob) for score in scores],
        top_logprobs=[_top(score, names) for score in scores] if alternatives else None,
        text_offset=[score.offset for score in scores],
        token_ids=[score.token for score in scores],
        token_bytes=[names.raw(score.token) for score in scores],
    )


def _top(score: TokenScore, names: TokenNames) -> dict[str, float]:
    """Map names to logprobs, best first; the drawn token is always there, with the very value of its own."""
    top: dict[str, float] = {}
    for token, logprob in score.alternatives:
        top.setdefault(names[token], _finite(logprob))
    top[names[score.token]] = _finite(score.logprob)
    return top


def _finite(logprob: float) -> float:
    return _MINUS_INFINITY if math.isinf(logprob) else logprob


def _written(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)
