"""The messages of ``vllm.grpc.engine`` to plain values of the contract, and its answers to such messages.

On this wire a prompt is tokens and so is an answer: whoever asks, a gateway, has the tokenizer, writes the
text and cuts it at a stop string.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from smg_grpc_proto import vllm_engine_pb2 as pb

from engine.contract.messages import refuse
from engine.errors import InvalidRequestError
from engine.service.logprobs import alternatives_by_id, finite

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.contract.limits import Limits
    from engine.contract.responses import Choice, Usage

Fields = dict[str, Any]
Scores = Sequence[Any]
"""What the engine says of tokens, each with its id, its log-probability and its alternatives."""

_UNSUPPORTED: Final = (
    *("mm_inputs", "extra_mm_inputs", "media_refs"),
    *("kv_transfer_params", "kv_transfer_params_json", "data_parallel_rank"),
)
"""Fields of a request that would change what the answer means, unless they are empty."""
_SAME: Final = (
    *("top_k", "min_p", "frequency_penalty", "presence_penalty"),
    *("min_tokens", "stop", "stop_token_ids", "ignore_eos", "logit_bias"),
)
"""Fields that have the contract's name, and whose zero is the contract's default."""
_CONSTRAINTS: Final = {"json_schema": "json", "regex": "regex", "grammar": "grammar"}
"""What this wire calls a form that is a text -> what the contract does."""


class Asked:
    """What one request wants of the answer, beyond what the contract is asked.

    Args:
        request: The message.
        limits: What this server allows.

    Raises:
        InvalidRequestError: it asks for something that is not supported.
    """

    def __init__(self, request: pb.GenerateRequest, limits: Limits) -> None:
        params = request.sampling_params
        _check_supported(request)
        self.logprobs = _count(params, "logprobs", limits)
        self.prompt_logprobs = _count(params, "prompt_logprobs", limits)
        self.stop = sorted(params.stop, key=len, reverse=True)
        self.stop_token_ids = frozenset(params.stop_token_ids)


def fields_of(request: pb.GenerateRequest, asked: Asked, *, prompt: str | list[int], room: int) -> Fields:
    """Return the plain values that the contract validates.

    Args:
        request: The message.
        asked: The same, read before.
        prompt: Its prompt.
        room: Tokens that an answer may have at most, which it may where it names no limit.
    """
    params = request.sampling_params
    fields: Fields = {"prompt": prompt, "max_tokens": room, "return_token_ids": True}
    if request.stream:
        fields["stream"] = True
        fields["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
    given = {field.name: value for field, value in params.ListFields()}
    fields |= {name: _plain(given[name]) for name in _SAME if name in given}
    # These are never 0 for a reason: their zero is what a client sends that does not set them.
    fields |= {name: _plain(given[name]) for name in ("top_p", "repetition_penalty", "n") if given.get(name)}
    fields |= {
        name: _plain(getattr(params, name))
        for name in ("temperature", "max_tokens", "seed")
        if params.HasField(name)
    }
    counts = [count for count in (asked.logprobs, asked.prompt_logprobs) if count is not None]
    if counts:
        fields["logprobs"] = max(counts)
    fields["echo"] = asked.prompt_logprobs is not None
    fields["include_stop_str_in_output"] = True  # in the text, which is only looked at
    if form := _form(params):
        fields["structured_outputs"] = form
    return fields


def _check_supported(request: pb.GenerateRequest) -> None:
    params = request.sampling_params
    names = [field.name for field, value in request.ListFields() if field.name in _UNSUPPORTED and value]
    names += ["structural_tag"] * (params.WhichOneof("constraint") == "structural_tag")
    names += ["truncate_prompt_tokens"] * bool(params.truncate_prompt_tokens)
    for name in names:
        raise InvalidRequestError(
            f"{name!r} is not supported; the answer would not be what it asks for.", param=name
        )


def _count(params: pb.SamplingParams, name: str, limits: Limits) -> int | None:
    if not params.HasField(name):
        return None
    count = int(getattr(params, name))
    if count < 0:
        refuse(name, "should be at least 0", count)
    limits.check_logprobs(name, count)
    return count


def _plain(value: Any) -> Any:
    """Return a value of a message as a plain one: of a float of 32 bits, the number that was meant.

    Who asks for 0.7 sends the nearest float of 32 bits. Its digits are those of 0.7, and so the same seed
    draws the same here as where the number comes in 64 bits.
    """
    if isinstance(value, float):
        return float(str(np.float32(value)))
    if hasattr(value, "items"):
        return {key: _plain(item) for key, item in value.items()}
    return value if isinstance(value, int | str) else list(value)


def _form(params: pb.SamplingParams) -> Fields | None:
    kind = params.WhichOneof("constraint")
    if kind == "choice":
        return {"choice": list(params.choice.choices)}
    if kind == "json_object":
        return {"json_object": params.json_object}
    return {_CONSTRAINTS[kind]: getattr(params, kind)} if kind else None


class Answers:
    """Writes the answers of one request.

    Args:
        asked: What it wants of them.
        n: How many choices it has.
        n_prompt: How many tokens its prompt has.
    """

    def __init__(self, asked: Asked, *, n: int, n_prompt: int) -> None:
        self._asked = asked
        self._n = n
        self._n_prompt = n_prompt
        self._begun: dict[int, _Choice] = {}

    def chunk(self, piece: Choice, usage: Usage | None) -> list[pb.GenerateResponse]:
        """Write a piece of a streamed answer, and behind its last one that it is complete."""
        choice = self._begun.get(piece.index)
        is_first = choice is None
        if choice is None:
            choice = self._begun[piece.index] = _Choice(piece.index)
        self._add(choice, piece)
        message = pb.GenerateStreamChunk(
            token_ids=piece.token_ids or (),
            prompt_tokens=self._n_prompt,
            completion_tokens=len(piece.token_ids or ()),
            cached_tokens=0 if usage is None else usage.prompt_tokens_details.cached_tokens,
            output_logprobs=self._output_logprobs(choice.last),
            input_logprobs=self._input_logprobs(choice.prompt) if is_first else None,
            index=piece.index,
        )
        messages = [pb.GenerateResponse(chunk=message)]
        if piece.finish_reason is not None:
            messages.append(self._complete(choice, piece.finish_reason, usage))
        return messages

    def whole(self, piece: Choice, usage: Usage) -> pb.GenerateResponse:
        """Write a choice as a whole."""
        choice = _Choice(piece.index)
        self._add(choice, piece)
        return self._complete(choice, piece.finish_reason or "stop", usage)

    def aborted(self) -> list[pb.GenerateResponse]:
        """Write that the choices have ended here, as far as they had come."""
        choices = (self._begun.get(index) or _Choice(index) for index in range(self._n))
        return [self._complete(choice, "abort", None) for choice in choices if not choice.is_complete]

    def _add(self, choice: _Choice, piece: Choice) -> None:
        scores = () if piece.logprobs is None else piece.logprobs.scores
        if self._asked.prompt_logprobs is not None and not choice.prompt:  # it stands before the first piece
            choice.prompt, scores = scores[: self._n_prompt], scores[self._n_prompt :]
        choice.tokens += piece.token_ids or ()
        choice.last = scores
        choice.scores += scores
        longest = max(map(len, self._asked.stop), default=0)
        choice.text = (choice.text + piece.text)[-longest:] if longest else ""

    def _complete(self, choice: _Choice, reason: str, usage: Usage | None) -> pb.GenerateResponse:
        choice.is_complete = True
        message = pb.GenerateComplete(
            output_ids=choice.tokens,
            finish_reason=reason,
            prompt_tokens=self._n_prompt,
            completion_tokens=len(choice.tokens),
            output_logprobs=self._output_logprobs(choice.scores),
            input_logprobs=self._input_logprobs(choice.prompt),
            index=choice.index,
        )
        if usage is not None:
            message.cached_tokens = usage.prompt_tokens_details.cached_tokens
            if self._n == 1:  # they are counted for a request
                guessed = usage.completion_tokens_details
                message.spec_accepted_tokens = guessed.accepted_prediction_tokens
                message.spec_draft_tokens = (
                    guessed.accepted_prediction_tokens + guessed.rejected_prediction_tokens
                )
        if reason == "stop":
            self._tell_stop(message, choice)
        return pb.GenerateResponse(complete=message)

    def _tell_stop(self, message: pb.GenerateComplete, choice: _Choice) -> None:
        """Name what ended a choice, unless it is the model's own end."""
        stop = next((stop for stop in self._asked.stop if choice.text.endswith(stop)), None)
        if choice.tokens and choice.tokens[-1] in self._asked.stop_token_ids:
            message.matched_token_id = choice.tokens[-1]
        elif stop is not None:
            message.matched_stop_str = stop

    def _output_logprobs(self, scores: Scores) -> pb.OutputLogProbs | None:
        count = self._asked.logprobs
        if count is None or not scores:
            return None
        return pb.OutputLogProbs(
            token_logprobs=[finite(score.logprob or 0.0) for score in scores],
            token_ids=[score.token for score in scores],
            top_logprobs=[_top(score, count) for score in scores] if count else (),
        )

    def _input_logprobs(self, scores: Scores) -> pb.InputLogProbs | None:
        count = self._asked.prompt_logprobs
        if count is None:
            return None
        return pb.InputLogProbs(
            token_logprobs=[
                pb.InputTokenLogProb(value=None if score.logprob is None else finite(score.logprob))
                for score in scores
            ],
            token_ids=[score.token for score in scores],
            top_logprobs=[_top(score, count) for score in scores] if count else (),
        )


class _Choice:
    """One choice, as far as it has come."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.tokens: list[int] = []
        self.text = ""
        """The end of its text, long enough to hold any stop string."""
        self.prompt: Scores = ()
        self.scores: list[Any] = []
        self.last: Scores = ()
        """The scores of the last piece."""
        self.is_complete = False


def _top(score: Any, count: int) -> pb.TopLogProbs:
    best = alternatives_by_id(score)
    return pb.TopLogProbs(values=[*best.values()][:count], token_ids=[*best][:count])


def bundle(files: Mapping[str, str]) -> bytes:
    """Return files in a ZIP archive: the same bytes for the same files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
