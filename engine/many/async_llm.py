"""The methods of :class:`engine.async_llm.AsyncLLM` that take many prompts or texts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar, overload

from engine.many.batch import in_order_async, one_or_many
from engine.many.generation import Generation
from engine.many.progress import Bar
from engine.many.scoring import Scoring

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Iterable

    from typing_extensions import Unpack

    from engine.contract.kwargs import GenerateFields, OnePrompt
    from engine.contract.responses import Completion
    from engine.many.generation import Generated
    from engine.many.scoring import Score
    from engine.parsed import ParsedCompletion
    from engine.service.service import CompletionService

    Prompts = Iterable[OnePrompt] | AsyncIterable[OnePrompt]
    Texts = Iterable[str | list[int]] | AsyncIterable[str | list[int]]

T = TypeVar("T")


class AsyncMany(ABC):
    """What can be done with many prompts or texts, in an event loop."""

    @property
    @abstractmethod
    def service(self) -> CompletionService:
        """The running service."""

    @overload
    async def generate(
        self,
        prompts: Prompts,
        *,
        json: None = None,
        progress: bool | None = None,
        **fields: Unpack[GenerateFields],
    ) -> list[Generated[Completion]]: ...
    @overload
    async def generate(
        self,
        prompts: Prompts,
        *,
        json: type[T],
        progress: bool | None = None,
        **fields: Unpack[GenerateFields],
    ) -> list[Generated[ParsedCompletion[T]]]: ...
    @overload
    async def generate(
        self,
        prompts: Prompts,
        *,
        json: dict[str, Any] | str,
        progress: bool | None = None,
        **fields: Unpack[GenerateFields],
    ) -> list[Generated[ParsedCompletion[Any]]]: ...

    async def generate(
        self,
        prompts: Prompts,
        *,
        json: type[Any] | dict[str, Any] | str | None = None,
        progress: bool | None = None,
        **fields: Unpack[GenerateFields],
    ) -> list[Generated[Any]]:
        """Complete many prompts, and return what became of each, in order.

        Some prompts at a time are with the engine: two for each sequence that runs, and never more than
        ``max_requests``; the next ones are taken as those before them end. Whoever else asks takes turns
        with them. A prompt that fails does not end the others: its result has an ``error``.

        Args:
            prompts: Texts, lists of token ids, or mappings with fields of their own: a list of them, or
                whatever else can be iterated. A single text is a list of one.
            json: As in :meth:`complete`.
            progress: Whether there is a progress bar; None: if a terminal or a notebook looks on.
            **fields: The fields of :meth:`complete` that the prompts have in common.

        Raises:
            InvalidRequestError: one of the fields would be refused with any prompt.
            UnavailableError: the model is closed.
        """
        generation = Generation(self.service, json, fields)
        prompts = one_or_many(prompts)
        bar = Bar(prompts, "prompt", shown=progress)
        return [result async for result in in_order_async(generation.batch(keeps_all=True), prompts, bar)]

    @overload
    def generate_iter(
        self,
        prompts: Prompts,
        *,
        json: None = None,
        progress: bool | None = False,
        **fields: Unpack[GenerateFields],
    ) -> AsyncGenerator[Generated[Completion], None]: ...
    @overload
    def generate_iter(
        self,
        prompts: Prompts,
        *,
        json: type[T],
        progress: bool | None = False,
        **fields: Unpack[GenerateFields],
    ) -> AsyncGenerator[Generated[ParsedCompletion[T]], None]: ...
    @overload
    def generate_iter(
        self,
        prompts: Prompts,
        *,
        json: dict[str, Any] | str,
        progress: bool | None = False,
        **fields: Unpack[GenerateFields],
    ) -> AsyncGenerator[Generated[ParsedCompletion[Any]], None]: ...

    def generate_iter(
        self,
        prompts: Prompts,
        *,
        json: type[Any] | dict[str, Any] | str | None = None,
        progress: bool | None = False,
        **fields: Unpack[GenerateFields],
    ) -> AsyncGenerator[Generated[Any], None]:
        """Do what :meth:`generate` does, and yield each result when its turn has come.

        No more than 64 results for each sequence that runs are kept for one before them that takes longer, so
        there may be any number of prompts. Closing the iterator cancels what is under way.
        """
        generation = Generation(self.service, json, fields)
        prompts = one_or_many(prompts)
        bar = Bar(prompts, "prompt", shown=progress)
        return in_order_async(generation.batch(keeps_all=False), prompts, bar)

    async def score(
        self,
        texts: Texts,
        *,
        window: int | None = None,
        stride: int | None = None,
        progress: bool | None = None,
    ) -> list[Score]:
        """Return how probable each of some texts is: log-probabilities of its tokens, their sum, perplexity.

        A text that is longer than the window is scored in parts that overlap: the window moves on by
        ``stride`` tokens, and each token counts once, in the first window that has it. So it has at least
        ``window - stride`` tokens before it. A smaller stride gives a lower, truer perplexity for more work:
        ``window / stride`` times that of a single pass. If the text begins with the token that the model
        begins every text with, each window does.

        Args:
            texts: Texts, or lists of token ids; a single text is a list of one.
            window: Most tokens that the model sees at once; by default its whole context.
            stride: From 1 to ``window - 1``; by default half the window.
            progress: As in :meth:`generate`.

        Raises:
            InvalidRequestError: an argument or a text is refused; the message has the text's number.
        """
        texts = one_or_many(texts)
        scoring = Scoring(self.service, window, stride)
        bar = Bar(texts, "text", shown=progress)
        return [score async for score in in_order_async(scoring.batch(), texts, bar)]
