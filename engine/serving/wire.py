"""Protocol buffers to plain values of the contract, and its answers and errors to protocol buffers."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import (  # type: ignore[import-untyped]
    BadRequest,
    ErrorInfo,
    RetryInfo,
)
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from engine.pb.nucleus.v1 import completions_pb2 as pb
from engine.service.logprobs import alternatives_by_id, finite, top_by_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from google.protobuf.descriptor import FieldDescriptor

    from engine.contract.chat_responses import ChatCompletion, ChatCompletionChunk, ChatLogprobs
    from engine.contract.responses import Choice, Completion, CompletionChunk, Logprobs, ModelList, Usage
    from engine.errors import EngineError
    from engine.service.token_texts import TokenTexts

_DOMAIN = "nucleus"
_REASONS = {
    None: pb.FINISH_REASON_UNSPECIFIED,
    "stop": pb.FINISH_REASON_STOP,
    "length": pb.FINISH_REASON_LENGTH,
}


def fields_of(message: Message) -> dict[str, Any]:
    """Return the fields that are set, by name, as the plain values that the contract validates.

    A scalar set to 0 is there, one left out is not; an empty list or mapping counts as left out.
    """
    return {field.name: _plain(field, value) for field, value in message.ListFields()}


def _plain(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is None:
        return list(value) if field.is_repeated else value
    if field.message_type.GetOptions().map_entry:
        return dict(value)
    return [_unwrapped(item) for item in value] if field.is_repeated else _unwrapped(value)


def _unwrapped(message: Message) -> Any:
    """Return a message as a mapping, or as the list or the text that it only stands in for."""
    if isinstance(message, pb.Prompt):
        form = message.WhichOneof("form")
        if form is None:
            return None
        value = getattr(message, form)
        return _unwrapped(value) if isinstance(value, Message) else value
    if isinstance(message, pb.TextList | pb.TokenList):
        return list(message.values)
    if isinstance(message, pb.TokenLists):
        return [list(tokens.values) for tokens in message.values]
    return fields_of(message)


def completion_message(completion: Completion, token_texts: TokenTexts) -> pb.Completion:
    """Write a whole answer."""
    return pb.Completion(
        id=completion.id,
        created=completion.created,
        model=completion.model,
        choices=[_choice(choice, token_texts) for choice in completion.choices],
        usage=_usage(completion.usage),
    )


def chunk_message(chunk: CompletionChunk, token_texts: TokenTexts) -> pb.CompletionChunk:
    """Write a piece of a streamed answer."""
    return pb.CompletionChunk(
        id=chunk.id,
        created=chunk.created,
        model=chunk.model,
        choices=[_choice(choice, token_texts) for choice in chunk.choices],
        usage=None if chunk.usage is None else _usage(chunk.usage),
    )


def chat_completion_message(completion: ChatCompletion, token_texts: TokenTexts) -> pb.ChatCompletion:
    """Write a whole answer to a chat."""
    return pb.ChatCompletion(
        id=completion.id,
        created=completion.created,
        model=completion.model,
        choices=[
            pb.ChatChoice(
                index=choice.index,
                message=pb.ChatMessage(role=choice.message.role, content=choice.message.content),
                logprobs=_chat_logprobs(choice.logprobs, token_texts),
                finish_reason=_REASONS[choice.finish_reason],
                token_ids=choice.token_ids,
            )
            for choice in completion.choices
        ],
        usage=_usage(completion.usage),
        prompt_token_ids=completion.prompt_token_ids,
    )


def chat_chunk_message(chunk: ChatCompletionChunk, token_texts: TokenTexts) -> pb.ChatCompletionChunk:
    """Write a piece of a streamed answer to a chat."""
    return pb.ChatCompletionChunk(
        id=chunk.id,
        created=chunk.created,
        model=chunk.model,
        choices=[
            pb.ChatChunkChoice(
                index=choice.index,
                delta=pb.ChatDelta(role=choice.delta.role, content=choice.delta.content),
                logprobs=_chat_logprobs(choice.logprobs, token_texts),
                finish_reason=_REASONS[choice.finish_reason],
                token_ids=choice.token_ids,
            )
            for choice in chunk.choices
        ],
        usage=None if chunk.usage is None else _usage(chunk.usage),
        prompt_token_ids=chunk.prompt_token_ids,
    )


def model_messages(models: ModelList) -> list[pb.Model]:
    """Write the list of models."""
    return [
        pb.Model(
            id=card.id,
            created=card.created,
            owned_by=card.owned_by,
            max_model_len=card.max_model_len,
            n_vocab=card.n_vocab,
        )
        for card in models.data
    ]


def status_of(error: EngineError) -> Status:
    """Write an error as gRPC's rich status; what a program reads is in the details, never in the message."""
    details: list[Message] = [ErrorInfo(reason=error.code.upper(), domain=_DOMAIN)]
    if error.param is not None:
        violation = BadRequest.FieldViolation(field=error.param, description=error.message)
        details.append(BadRequest(field_violations=[violation]))
    if error.retry_after is not None:
        details.append(RetryInfo(retry_delay=Duration(seconds=error.retry_after)))
    code: int = grpc.StatusCode[error.grpc_status].value[0]
    return Status(code=code, message=str(error), details=map(_packed, details))


def _packed(message: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


def _choice(choice: Choice, token_texts: TokenTexts) -> pb.Choice:
    return pb.Choice(
        text=choice.text,
        index=choice.index,
        logprobs=_logprobs(choice.logprobs, token_texts),
        finish_reason=_REASONS[choice.finish_reason],
        token_ids=choice.token_ids,
        prompt_token_ids=choice.prompt_token_ids,
    )


def _tokens(
    logprobs: Logprobs | ChatLogprobs,
    forced: Iterable[bool | None],
    top_of: Callable[..., Mapping[int, float]],
    token_texts: TokenTexts,
) -> list[pb.TokenLogprob]:
    return [
        pb.TokenLogprob(
            token=token_texts[score.token],
            token_id=score.token,
            token_bytes=token_texts.raw(score.token),
            logprob=None if score.logprob is None else finite(score.logprob),
            top_logprobs=[
                pb.TopLogprob(
                    token=token_texts[token],
                    logprob=logprob,
                    token_id=token,
                    token_bytes=token_texts.raw(token),
                )
                for token, logprob in top_of(score).items()
            ],
            text_offset=score.offset,
            forced=is_forced,
        )
        for score, is_forced in zip(logprobs.scores, forced, strict=True)
    ]


def _logprobs(logprobs: Logprobs | None, token_texts: TokenTexts) -> pb.Logprobs | None:
    if logprobs is None:
        return None
    forced = repeat(None, len(logprobs.scores)) if logprobs.forced is None else logprobs.forced
    return pb.Logprobs(tokens=_tokens(logprobs, forced, top_by_id, token_texts))


def _chat_logprobs(logprobs: ChatLogprobs | None, token_texts: TokenTexts) -> pb.ChatLogprobs | None:
    if logprobs is None:
        return None
    forced = [token.forced for token in logprobs.content]
    return pb.ChatLogprobs(content=_tokens(logprobs, forced, alternatives_by_id, token_texts))


def _usage(usage: Usage) -> pb.Usage:
    return pb.Usage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.total_tokens,
        prompt_tokens_details=pb.PromptTokensDetails(
            cached_tokens=usage.prompt_tokens_details.cached_tokens,
        ),
        completion_tokens_details=pb.CompletionTokensDetails(
            accepted_prediction_tokens=usage.completion_tokens_details.accepted_prediction_tokens,
            rejected_prediction_tokens=usage.completion_tokens_details.rejected_prediction_tokens,
        ),
    )
