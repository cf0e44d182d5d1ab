"""Completions of many prompts, which have their other fields in common."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from engine.contract.display import error_html
from engine.contract.responses import Completion
from engine.errors import EngineError, UnavailableError
from engine.many.batch import Batch, with_room
from engine.parsed import JsonForm

if TYPE_CHECKING:
    from engine.contract.kwargs import OnePrompt
    from engine.many.batch import Advance
    from engine.service.service import CompletionService

CompletionT = TypeVar("CompletionT", bound=Completion)
WAITING_PER_SLOT = 1
"""Requests that wait for each one that runs: enough when it ends, and few, as deadlines count the time."""
KEPT_PER_SLOT = 64
"""Completions that are kept for one before them that takes longer."""


@dataclass(frozen=True, slots=True)
class Generated(Generic[CompletionT]):
    """What became of one of many prompts: a completion, or an error.

    Attributes:
        index: The prompt's number, from 0.
        prompt: The prompt as it was given.
        error: Why there is no completion; None if there is one.
    """

    index: int
    prompt: OnePrompt
    error: EngineError | None
    _completion: CompletionT | None

    @property
    def completion(self) -> CompletionT:
        """The completion.

        Raises:
            EngineError: ``error``, if there is no completion.
        """
        if self._completion is None:
            raise self.error or RuntimeError("neither a completion nor an error")
        return self._completion

    @property
    def text(self) -> str:
        """The text of the completion's first choice; as :attr:`completion`, it raises the error."""
        return self.completion.choices[0].text

    def _repr_html_(self) -> str:
        return error_html(str(self.error)) if self._completion is None else self._completion._repr_html_()


class Generation:
    """How each of many prompts is completed.

    Args:
        service: What completes them.
        json: As in :meth:`engine.async_llm.AsyncLLM.complete`.
        fields: The fields that the prompts have in common; those of a prompt that is a mapping come first.

    Raises:
        InvalidRequestError: a field would be refused with any prompt.
    """

    def __init__(
        self,
        service: CompletionService,
        json: type[Any] | dict[str, Any] | str | None,
        fields: Mapping[str, Any],
    ) -> None:
        service.check_open()
        self._service = service
        self._form: JsonForm[Any] | None = None if json is None else JsonForm(json)
        self._fields = {"model": service.name, **fields}
        self._caller = object()  # it takes turns with whoever else asks
        service.parse(self._request({"prompt": "a"}))

    def batch(self, *, keeps_all: bool) -> Batch[OnePrompt, Generated[Any]]:
        """Return a new batch of prompts.

        Args:
            keeps_all: Whether it runs ahead of its reader as far as it can.
        """
        n_slots = self._service.engine.backend.n_slots
        return Batch(
            self._generate,
            at_once=min((1 + WAITING_PER_SLOT) * n_slots, self._service.engine.max_requests),
            ahead=math.inf if keeps_all else KEPT_PER_SLOT * n_slots,
        )

    async def _generate(self, index: int, prompt: OnePrompt, advance: Advance) -> Generated[Any]:
        try:
            completion = await with_room(lambda: self._complete(prompt))
        except UnavailableError:  # so would every other prompt be
            raise
        except EngineError as error:
            error.add_note(f"This is about prompt {index}, counted from 0.")
            advance(1, 0)
            return Generated(index, prompt, error, None)
        advance(1, completion.usage.completion_tokens)
        return Generated(index, prompt, None, completion)

    async def _complete(self, prompt: OnePrompt) -> Completion:
        own = prompt if isinstance(prompt, Mapping) else {"prompt": prompt}
        answer = await self._service.complete(self._service.parse(self._request(own)), self._caller)
        return answer if self._form is None else self._form.completion(answer)

    def _request(self, own: Mapping[str, Any]) -> dict[str, Any]:
        fields = {**self._fields, **own}
        return fields if self._form is None else self._form.added_to(fields)
