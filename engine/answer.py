"""How tokens and their logprobs are written in an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.contract import Logprobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.backend.base import Backend
    from engine.core.sequence import TokenScore

_LEAST = -9999.0  # JSON has no infinities; the contract writes this for a probability of 0


class TokenNames(dict[int, str]):
    """Token to its text where it stands alone; made when it is first asked for."""

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self._backend = backend

    def raw(self, token: int) -> bytes:
        """Return the token's bytes; of a control token, those of its name."""
        return self._backend.piece(token) or self._backend.special_text(token)

    def __missing__(self, token: int) -> str:
        name = self[token] = _written(self.raw(token))
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
        token_logprobs=[max(score.logprob, _LEAST) for score in scores],
        top_logprobs=[_top(score, names) for score in scores] if alternatives else None,
        text_offset=[score.offset for score in scores],
        token_ids=[score.token for score in scores],
        token_bytes=[names.raw(score.token) for score in scores],
    )


def _top(score: TokenScore, names: TokenNames) -> dict[str, float]:
    """Map names to logprobs, best first; the drawn token is always there, with the very value of its own."""
    top = {names[token]: max(logprob, _LEAST) for token, logprob in score.alternatives}
    if len(top) < len(score.alternatives):  # of two with one name, the better counts
        top.clear()
        for token, logprob in score.alternatives:
            top.setdefault(names[token], max(logprob, _LEAST))
    top[names[score.token]] = max(score.logprob, _LEAST)
    return top


def _written(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)
