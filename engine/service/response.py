"""Builds a response of the contract from the deltas of the engine."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from engine.contract.responses import (
    Choice,
    Completion,
    CompletionChunk,
    CompletionTokensDetails,
    PromptTokensDetails,
    Usage,
)
from engine.service.logprobs import logprobs_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.contract.requests import CompletionRequest
    from engine.core.delta import Delta
    from engine.core.sequence import Prompt
    from engine.service.logprobs import Echo
    from engine.service.token_texts import TokenTexts


@dataclass(frozen=True, slots=True)
class ResponseBuilder:
    """Builds one response, or its chunks: what all parts repeat, and how deltas become choices."""

    request: CompletionRequest
    id: str
    created: int
    model: str
    prompts: list[Prompt]
    echoes: list[Echo]
    """The echo of each prompt; empty unless the request asks for it."""
    token_texts: TokenTexts

    def completion(self, deltas: Iterable[Delta]) -> Completion:
        """Write the answer as a whole, of one delta for each candidate."""
        ordered = sorted(deltas, key=attrgetter("choice"))
        return Completion(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=[self.choice(delta) for delta in _best([*map(self.begin, ordered)], self.request)],
            usage=self.usage(sum(delta.n_tokens for delta in ordered)),
        )

    def chunk(self, choices: list[Choice], usage: Usage | None) -> CompletionChunk:
        """Write a piece of the answer."""
        return CompletionChunk(
            id=self.id, created=self.created, model=self.model, choices=choices, usage=usage
        )

    def begin(self, delta: Delta) -> Delta:
        """Complete the first delta of a choice."""
        return self.echoes[delta.choice // self.request.candidates].before(delta) if self.echoes else delta

    def choice(self, delta: Delta) -> Choice:
        """Write a choice, or a part of one."""
        wanted = self.request.logprobs
        return Choice(
            text=delta.text,
            index=delta.choice,
            logprobs=None if wanted is None else logprobs_of(delta.scores, wanted, self.token_texts),
            finish_reason=delta.finish_reason,
        )

    def usage(self, completion_tokens: int) -> Usage:
        """Return the usage of the request, given the number of tokens that were generated."""
        prompt_tokens = sum(len(prompt.tokens) for prompt in self.prompts)
        cached_tokens = sum(prompt.n_cached for prompt in self.prompts)
        drafted = sum(prompt.n_drafted for prompt in self.prompts)
        accepted = sum(prompt.n_accepted for prompt in self.prompts)
        return Usage(
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            total_tokens=prompt_tokens + completion_tokens,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=cached_tokens),
            completion_tokens_details=CompletionTokensDetails(
                accepted_prediction_tokens=accepted, rejected_prediction_tokens=drafted - accepted
            ),
        )


def _best(deltas: list[Delta], request: CompletionRequest) -> list[Delta]:
    """Of each prompt's candidates, in order, return the ``n`` of the highest mean logprob, best first."""
    if request.candidates == request.n:
        return deltas
    best: list[Delta] = []
    for start in range(0, len(deltas), request.candidates):
        candidates = deltas[start : start + request.candidates]
        candidates.sort(key=lambda delta: delta.logprob / max(delta.n_tokens, 1), reverse=True)
        best += candidates[: request.n]
    return [delta._replace(choice=index) for index, delta in enumerate(best)]
