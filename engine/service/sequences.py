"""What a request asks of the engine: its prompts, each with the sequences that continue it."""

from __future__ import annotations

import secrets
import sys
from typing import TYPE_CHECKING

from engine.core.sequence import Prompt, Sequence, StopRules
from engine.errors import InvalidRequestError
from engine.sampling import SamplingParams
from engine.service.tokenizer import check_ids

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from engine.backend.base import ModelInfo
    from engine.contract.requests import CompletionRequest
    from engine.grammar.matcher import Matcher
    from engine.service.tokenizer import TokenizedPrompt

_BAN = -100.0


def make_prompts(
    request: CompletionRequest,
    tokenized: Iterable[TokenizedPrompt],
    info: ModelInfo,
    *,
    client: Hashable,
    in_parts: bool,
    matcher: Matcher | None = None,
) -> list[Prompt]:
    """Make a prompt of each text, and a sequence for each candidate.

    Args:
        request: What is asked for; a fresh seed is drawn where it has none.
        tokenized: Its prompts in the model's tokens.
        info: The model.
        client: Whose turn they take.
        in_parts: Whether a choice yields deltas as it grows, or one, when it has ended.
        matcher: Which tokens may begin an answer, where it is to have a form.

    Raises:
        InvalidRequestError: a token id is none of the model's, or every token is banned.
    """
    owner, params = object(), _sampling_params(request, info)
    stop = _stop_rules(request, info)
    batch_invariant = request.seed is not None or (request.echo and request.logprobs is not None)
    prompts = []
    for number, (tokens, text, half, _) in enumerate(tokenized):
        prompt = Prompt(
            owner,
            tokens,
            len(text),
            half,
            client,
            batch_invariant=batch_invariant,
            in_parts=in_parts,
            shows_tokens=request.return_token_ids,
        )
        if request.echo:
            prompt.n_alternatives = request.logprobs
        for choice in range(request.candidates):
            # Streams are numbered so that neither n nor another prompt moves a choice to other numbers.
            rng_stream = (number << 16) | choice
            index = number * request.candidates + choice
            sequence = Sequence(
                prompt,
                index,
                params,
                max_tokens=request.max_tokens,
                stop=stop,
                rng_stream=rng_stream,
                matcher=None if matcher is None else matcher.copy(),
            )
            prompt.sequences.append(sequence)
        prompts.append(prompt)
    return prompts


def _sampling_params(request: CompletionRequest, info: ModelInfo) -> SamplingParams:
    return SamplingParams(
        seed=_seed(request),
        temperature=request.temperature,
        top_p=request.top_p or sys.float_info.min,  # 0 keeps the most probable token alone
        top_k=max(request.top_k, 0),
        min_p=request.min_p,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        repetition_penalty=request.repetition_penalty,
        logit_bias=_logit_bias(request, info),
        logprobs=0 if request.logprobs is None and request.candidates > request.n else request.logprobs,
    )


def _seed(request: CompletionRequest) -> int:
    """Return the request's seed as 64 bits, or fresh ones from the operating system."""
    return secrets.randbits(64) if request.seed is None else request.seed & 0xFFFF_FFFF_FFFF_FFFF


def _logit_bias(request: CompletionRequest, info: ModelInfo) -> dict[int, float]:
    check_ids("logit_bias", request.logit_bias, info.n_vocab)
    _check_some_token_is_left(request, info)
    return {token: -float("inf") if bias == _BAN else bias for token, bias in request.logit_bias.items()}


def _check_some_token_is_left(request: CompletionRequest, info: ModelInfo) -> None:
    banned = {token for token, bias in request.logit_bias.items() if bias == _BAN}
    if banned and request.min_tokens:
        banned |= _stop_rules(request, info).tokens
    if len(banned) == info.n_vocab:
        raise InvalidRequestError(
            f"'logit_bias' should leave a token that can be drawn; all {len(banned)} are banned.",
            param="logit_bias",
        )


def _stop_rules(request: CompletionRequest, info: ModelInfo) -> StopRules:
    check_ids("stop_token_ids", request.stop_token_ids, info.n_vocab)
    ends = frozenset() if request.ignore_eos else info.eog_tokens
    return StopRules(
        ends.union(request.stop_token_ids),
        tuple(request.stop),
        keep=request.include_stop_str_in_output,
        min_tokens=request.min_tokens,
    )
