"""Going on with an answer whose first tokens a client has already."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from engine.contract.messages import abbreviate, refuse
from engine.errors import InvalidRequestError
from engine.grammar.form import GrammarError
from engine.service.tokenizer import check_ids

if TYPE_CHECKING:
    from engine.backend.base import Backend
    from engine.core.sequence import Prompt, Sequence

_FIELD = "resume_token_ids"
_MANY = 1024
"""Tokens from which taking them leaves the event loop; each takes some microseconds."""


async def resume(prompt: Prompt, tokens: list[int], backend: Backend) -> None:
    """Let the one choice of a prompt go on behind tokens, as if it had drawn them and told all of them.

    Args:
        prompt: The prompt; its choice has generated nothing.
        tokens: The tokens, at least one.
        backend: The model.

    Raises:
        InvalidRequestError: they are no beginning of an answer to this request.
    """
    (sequence,) = prompt.sequences
    check_ids(_FIELD, tokens, backend.info.n_vocab)
    if len(tokens) > sequence.max_tokens:
        limit = f"should hold at most as many tokens as the answer may have ({sequence.max_tokens})"
        refuse(_FIELD, limit, len(tokens))
    if len(tokens) < _MANY and sequence.matcher is None:
        _go_behind(sequence, tokens, backend)
    else:
        await asyncio.to_thread(_go_behind, sequence, tokens, backend)
    prompt.n_resumed = len(tokens)


def _go_behind(sequence: Sequence, tokens: list[int], backend: Backend) -> None:
    for position, token in enumerate(tokens):
        if sequence.has_ended:
            raise _behind_the_end(position - 1, tokens[position - 1])
        try:
            _check_end(sequence, token)
            sequence.take(token)
        except GrammarError as error:
            raise _unfitting(position, token, sequence, error) from None
        sequence.skip(backend.piece)


def _check_end(sequence: Sequence, token: int) -> None:
    """Refuse an end where the form has none; what ends a choice is nothing that its matcher takes.

    Raises:
        GrammarError: the form goes on here.
    """
    if sequence.matcher is not None and token in sequence.stop.tokens:
        sequence.matcher.copy().take(token)


def _behind_the_end(position: int, token: int) -> InvalidRequestError:
    return InvalidRequestError(
        f"'{_FIELD}' should hold no tokens behind the end of the answer: the token at {position} ({token}) "
        "ends it.",
        param=_FIELD,
    )


def _unfitting(position: int, token: int, sequence: Sequence, error: GrammarError) -> InvalidRequestError:
    field = "" if sequence.matcher is None else sequence.matcher.field
    return InvalidRequestError(
        f"'{_FIELD}' should fit '{field}', but its token at {position} ({abbreviate(token)}) does not: "
        f"{error.message}",
        param=_FIELD,
    )
