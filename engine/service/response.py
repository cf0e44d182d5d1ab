"""Builds a response of the contract from the deltas of the engine: what both shapes share, and the older."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from typing_extensions import override

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
    from collections.abc import Sequence

    from engine.contract.requests import CompletionRequest
    from engine.contract.responses import Logprobs
    from engine.core.delta import Delta
    from engine.core.sequence import Prompt
    from engine.service.logprobs import Echo
    from engine.service.token_texts import TokenTexts

WholeT = TypeVar("WholeT")
ChunkT = TypeVar("ChunkT")
PieceT = TypeVar("PieceT")


@dataclass(frozen=True, slots=True)
class ResponseBuilder(ABC, Generic[WholeT, ChunkT, PieceT]):
    """Builds one response, or its chunks: what all parts repeat, and how deltas become choices.

    Type arguments:
        WholeT: A response that is sent as a whole.
        ChunkT: A chunk of one that is streamed.
        PieceT: What a chunk has of a choice.
    """

    id_prefix: ClassVar[str]

    request: CompletionRequest
    id: str
    created: int
    model: str
    prompts: list[Prompt]
    echoes: list[Echo]
    """The echo of each prompt; empty unless the request asks for it."""
    token_texts: TokenTexts

    @abstractmethod
    def whole(self, deltas: Sequence[Delta]) -> WholeT:
        """Write the answer as a whole, of one delta for each candidate."""

    @abstractmethod
    def opening(self) -> Sequence[PieceT]:
        """Write what a stream begins with, a piece for each chunk."""

    @abstractmethod
    def pieces(self, delta: Delta) -> Sequence[PieceT]:
        """Write what a delta adds to its choice, a piece for each chunk."""

    @abstractmethod
    def chunk(self, pieces: list[PieceT], usage: Usage | None) -> ChunkT:
        """Write a chunk of one piece, or of none."""

    def best(self, deltas: Sequence[Delta]) -> list[Delta]:
        """Return the deltas that the answer shows, in the order of its choices."""
        ordered = sorted(deltas, key=attrgetter("choice"))
        return _best([*map(self.begin, ordered)], self.request)

    def begin(self, delta: Delta) -> Delta:
        """Complete the first delta of a choice."""
        number = delta.choice // self.request.candidates
        if self.echoes:
            delta = self.echoes[number].before(delta)
        if self.request.return_token_ids:
            delta = delta._replace(prompt_tokens=self.prompts[number].tokens)
        return delta

    def token_ids(self, delta: Delta) -> list[int] | None:
        """Return the ids of a delta's tokens, if the request asks for them."""
        return [*delta.tokens] if self.request.return_token_ids else None

    @property
    def has_form(self) -> bool:
        """Whether the request asks for an answer of some form."""
        return self.request.asked_form is not None

    def usage(self, completion_tokens: int) -> Usage:
        """Return the usage of the request, given the number of tokens that were generated here."""
        completion_tokens += sum(prompt.n_resumed for prompt in self.prompts)
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


class CompletionBuilder(ResponseBuilder[Completion, CompletionChunk, Choice]):
    """Builds a response of the completions shape."""

    __slots__ = ()
    id_prefix = "cmpl"

    @override
    def whole(self, deltas: Sequence[Delta]) -> Completion:
        best = self.best(deltas)
        return Completion(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=[self._choice(delta) for delta in best],
            usage=self.usage(sum(delta.n_tokens for delta in deltas)),
        )

    @override
    def opening(self) -> Sequence[Choice]:
        return ()

    @override
    def pieces(self, delta: Delta) -> Sequence[Choice]:
        return (self._choice(delta),)

    @override
    def chunk(self, pieces: list[Choice], usage: Usage | None) -> CompletionChunk:
        return CompletionChunk(
            id=self.id, created=self.created, model=self.model, choices=pieces, usage=usage
        )

    def _choice(self, delta: Delta) -> Choice:
        return Choice(
            text=delta.text,
            index=delta.choice,
            logprobs=self._logprobs(delta),
            finish_reason=delta.finish_reason,
            token_ids=self.token_ids(delta),
            prompt_token_ids=delta.prompt_tokens,
        )

    def _logprobs(self, delta: Delta) -> Logprobs | None:
        wanted = self.request.logprobs
        if wanted is None:
            return None
        with_ids = self.request.return_token_ids
        return logprobs_of(delta.scores, wanted, self.token_texts, with_ids=with_ids, has_form=self.has_form)


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
