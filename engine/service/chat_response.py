"""Builds a response of the chat shape from the deltas of the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from engine.contract.chat_responses import (
    ChatChoice,
    ChatChunkChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChatDelta,
    ChatLogprobs,
    ChatMessage,
)
from engine.service.logprobs import chat_logprobs_of
from engine.service.response import ResponseBuilder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.contract.responses import Usage
    from engine.core.delta import Delta

_BEGINNING = ChatDelta(role="assistant", content="")
_END = ChatDelta()


class ChatBuilder(ResponseBuilder[ChatCompletion, ChatCompletionChunk, ChatChunkChoice]):
    """Builds a response of the chat shape."""

    __slots__ = ()
    id_prefix = "chatcmpl"

    @override
    def whole(self, deltas: Sequence[Delta]) -> ChatCompletion:
        return ChatCompletion(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=[
                ChatChoice(
                    index=delta.choice,
                    message=ChatMessage(content=delta.text),
                    logprobs=self._logprobs(delta),
                    finish_reason=delta.finish_reason,
                )
                for delta in self.best(deltas)
            ],
            usage=self.usage(sum(delta.n_tokens for delta in deltas)),
        )

    @override
    def opening(self) -> Sequence[ChatChunkChoice]:
        """Say of each choice who speaks, in order: clients make their list of choices of these."""
        return [ChatChunkChoice(index=index, delta=_BEGINNING) for index in range(self.request.n)]

    @override
    def pieces(self, delta: Delta) -> Sequence[ChatChunkChoice]:
        """Write the text and the end: each of them that there is as a piece of its own."""
        index, ends = delta.choice, delta.finish_reason is not None
        logprobs, pieces = self._logprobs(delta), []
        if delta.text or not ends:
            pieces.append(
                ChatChunkChoice(index=index, delta=ChatDelta(content=delta.text), logprobs=logprobs)
            )
            logprobs = None
        if ends:
            pieces.append(
                ChatChunkChoice(index=index, delta=_END, logprobs=logprobs, finish_reason=delta.finish_reason)
            )
        return pieces

    @override
    def chunk(self, pieces: list[ChatChunkChoice], usage: Usage | None) -> ChatCompletionChunk:
        return ChatCompletionChunk(
            id=self.id, created=self.created, model=self.model, choices=pieces, usage=usage
        )

    def _logprobs(self, delta: Delta) -> ChatLogprobs | None:
        is_wanted = self.request.logprobs is not None
        return chat_logprobs_of(delta.scores, self.token_texts) if is_wanted else None
