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
                    token_ids=self.token_ids(delta),
                )
                for delta in self.best(deltas)
            ],
            usage=self.usage(sum(delta.n_tokens for delta in deltas)),
            prompt_token_ids=self._prompt_token_ids,
        )

    @override
    def opening(self) -> Sequence[ChatChunkChoice]:
        """Say of each choice who speaks, in order: clients make their list of choices of these."""
        none: list[int] | None = [] if self.request.return_token_ids else None
        return [
            ChatChunkChoice(index=index, delta=_BEGINNING, token_ids=none) for index in range(self.request.n)
        ]

    @override
    def pieces(self, delta: Delta) -> Sequence[ChatChunkChoice]:
        """Write the text and the end: each of them that there is as a piece of its own.

        The first of the two has the tokens: who has them has the text, too.
        """
        index, ends = delta.choice, delta.finish_reason is not None
        logprobs, token_ids, pieces = self._logprobs(delta), self.token_ids(delta), []
        if delta.text or not ends:
            text = ChatDelta(content=delta.text)
            pieces.append(ChatChunkChoice(index=index, delta=text, logprobs=logprobs, token_ids=token_ids))
            logprobs, token_ids = None, None if token_ids is None else []
        if ends:
            pieces.append(
                ChatChunkChoice(
                    index=index,
                    delta=_END,
                    logprobs=logprobs,
                    finish_reason=delta.finish_reason,
                    token_ids=token_ids,
                )
            )
        return pieces

    @override
    def chunk(self, pieces: list[ChatChunkChoice], usage: Usage | None) -> ChatCompletionChunk:
        begins = bool(pieces) and pieces[0].delta is _BEGINNING and pieces[0].index == 0
        return ChatCompletionChunk(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=pieces,
            usage=usage,
            prompt_token_ids=self._prompt_token_ids if begins else None,
        )

    @property
    def _prompt_token_ids(self) -> list[int] | None:
        return self.prompts[0].tokens if self.request.return_token_ids else None

    def _logprobs(self, delta: Delta) -> ChatLogprobs | None:
        if self.request.logprobs is None:
            return None
        with_ids = self.request.return_token_ids
        return chat_logprobs_of(delta.scores, self.token_texts, with_ids=with_ids, has_form=self.has_form)
