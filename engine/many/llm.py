"""The methods of :class:`engine.llm.LLM` that take many prompts or texts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar, overload

from engine.many.batch import in_order, one_or_many
from engine.many.generation import Generation
from engine.many.progress import Bar
from engine.many.scoring import Scoring

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator, Iterable

    from typing_extensions import Unpack

    from engine.contract.kwargs import GenerateFields, OnePrompt
    from engine.contract.responses import Completion
    from engine.many.generation import Generated
    from engine.many.scoring import Score
    from engine.parsed import ParsedCompletion
    from engine.service.service import CompletionService

    Prompts = Iterable[OnePrompt]
    Texts = Iterable[str | list[int]]

T = TypeVar("T")


class Many(ABC):
    """What can be done with many prompts or texts, for code that blocks."""

    @property
    @abstractmethod
    def _service(self) -> CompletionService: ...

    @abstractmethod
    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the service's event loop, and return what it returns."""

    @overload
    def generate(
        self,
        prompts: Prompts,
        *,
        json: None = None,
        progress: bool | None = None,
        **fields: Unpack[GenerateFields],
    ) -> list[Generated[Completion]]: ...
    @overload
    def generate(
        self,
        prompts: Prompts,
        *,
        json: type[T],
        progress: bool | None = None,
        **fields: Unpack[GenerateFields],
    ) -> list[Generated[ParsedCompletion[T]]]: ...
    @overload
    def generate(
        self,
        prompts: Prompts,
        *,
        json: dict[str, Any] | str,
        progress: bool | None = None,
        **fields: Unpack[GenerateFields],
    ) -> list[Generated[ParsedCompletion[Any]]]: ...

    def generate(
        self,
        prompts: Prompts,
        *,
        json: type[Any] | dict[str, Any] | str | None = None,
        progress: bool | None = None,
        **fields: Unpack[GenerateFields],
    ) -> list[Generated[Any]]:
        """Complete many prompts, and return what became of each, in order; see :meth:`AsyncLLM.generate`.

        >>> for result in llm.generate(["One plus one is", "The sky is"], max_tokens=4, temperature=0):
        ...     print(result.prompt, result.error or result.text)
        """
        generation = Generation(self._service, json, fields)
        prompts = one_or_many(prompts)
        bar = Bar(prompts, "prompt", shown=progress)
        return [*in_order(generation.batch(keeps_all=True), prompts, self._wait, bar)]

    @overload
    def generate_iter(
        self,
        prompts: Prompts,
        *,
        json: None = None,
        progress: bool | None = False,
        **fields: Unpack[GenerateFields],
    ) -> Generator[Generated[Completion], None, None]: ...
    @overload
    def generate_iter(
        self,
        prompts: Prompts,
        *,
        json: type[T],
        progress: bool | None = False,
        **fields: Unpack[GenerateFields],
    ) -> Generator[Generated[ParsedCompletion[T]], None, None]: ...
    @overload
    def generate_iter(
        self,
        prompts: Prompts,
        *,
        json: dict[str, Any] | str,
        progress: bool | None = False,
        **fields: Unpack[GenerateFields],
    ) -> Generator[Generated[ParsedCompletion[Any]], None, None]: ...

    def generate_iter(
        self,
        prompts: Prompts,
        *,
        json: type[Any] | dict[str, Any] | str | None = None,
        progress: bool | None = False,
        **fields: Unpack[GenerateFields],
    ) -> Generator[Generated[Any], None, None]:
        """Yield what became of each prompt when its turn has come; see :meth:`AsyncLLM.generate_iter`.

        Prompts are taken in the thread that iterates.
        """
        generation = Generation(self._service, json, fields)
        prompts = one_or_many(prompts)
        bar = Bar(prompts, "prompt", shown=progress)
        return in_order(generation.batch(keeps_all=False), prompts, self._wait, bar)

    def score(
        self,
        texts: Texts,
        *,
        window: int | None = None,
        stride: int | None = None,
        progress: bool | None = None,
    ) -> list[Score]:
        """Return how probable each of some texts is; see :meth:`AsyncLLM.score`.

        >>> [score] = llm.score("The capital of France is Paris.")
        >>> print(score.sum, score.mean, score.perplexity, score.count)
        """
        texts = one_or_many(texts)
        scoring = Scoring(self._service, window, stride)
        bar = Bar(texts, "text", shown=progress)
        return [*in_order(scoring.batch(), texts, self._wait, bar)]
