"""The Python door for an event loop: :class:`AsyncLLM`."""

from __future__ import annotations

import asyncio
import warnings
import weakref
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from typing_extensions import override

from engine.errors import UnavailableError
from engine.loading.threaded import load
from engine.many.async_llm import AsyncMany
from engine.models.packaged import DEFAULT_MODEL
from engine.parsed import JsonForm
from engine.process_bound import ProcessBound

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import TracebackType

    from typing_extensions import Unpack

    from engine.contract.chat_responses import ChatCompletion, ChatCompletionChunk
    from engine.contract.kwargs import ChatFields, CompletionFields
    from engine.contract.responses import (
        Completion,
        CompletionChunk,
        Detokenized,
        ModelList,
        Tokenized,
        TokenizerInfo,
    )
    from engine.parsed import ParsedChatCompletion, ParsedCompletion
    from engine.service.service import CompletionService
    from engine.service.stream import AnswerStream


T = TypeVar("T")


class AsyncLLM(AsyncMany, ProcessBound):
    """A model in this process, for an event loop.

    Loading blocks for as long as the file takes to read. Use it as an asynchronous context manager, or call
    :meth:`close`. After that, and in a process that was forked from this one, every method raises
    :class:`engine.errors.UnavailableError`.

    Args:
        model: A GGUF file, a packaged model's name, or ``user/repo:QUANT`` of the hub.
        **options: The fields of :class:`engine.loading.options.EngineOptions`: ``alias``, ``parallel``,
            ``ctx_size``, ``prefix_cache``, ``threads``, ``ubatch_size``, ``flash_attn``, ``cache_type_k``,
            ``cache_type_v``, ``profile``, ``gpu_layers``, ``max_logprobs``, ``max_requests``,
            ``max_seconds``.

    Raises:
        ModelLoadError: the model cannot be found or loaded.
        InvalidRequestError: an option is unknown or out of range.
    """

    _finalizer: weakref.finalize[[CompletionService], AsyncLLM] | None = None

    def __init__(self, model: str = DEFAULT_MODEL, **options: Any) -> None:
        self._hold(load(model, options))
        self._finalizer = weakref.finalize(self, _stop_forgotten, self.service)
        self._finalizer.atexit = False

    @classmethod
    def of(cls, service: CompletionService) -> Self:
        """Return the Python door of a service that is running already."""
        llm = cls.__new__(cls)
        llm._hold(service)
        return llm

    def _hold(self, service: CompletionService) -> None:
        self._service: CompletionService | None = service
        self._name = service.name

    @property
    @override
    def service(self) -> CompletionService:
        """The running service.

        Raises:
            UnavailableError: the model is closed.
        """
        if self._service is None:
            raise UnavailableError("The model is closed.")
        return self._service

    @property
    def _is_exiting(self) -> bool:
        """True if the interpreter exits, and the model was not closed before."""
        return self._service is not None and self._service.engine.is_exiting

    @property
    def name(self) -> str:
        """The model's name in answers."""
        return self._name

    @overload
    async def complete(self, *, json: None = None, **fields: Unpack[CompletionFields]) -> Completion: ...
    @overload
    async def complete(self, *, json: type[T], **fields: Unpack[CompletionFields]) -> ParsedCompletion[T]: ...
    @overload
    async def complete(
        self, *, json: dict[str, Any] | str, **fields: Unpack[CompletionFields]
    ) -> ParsedCompletion[Any]: ...

    async def complete(
        self, *, json: type[Any] | dict[str, Any] | str | None = None, **fields: Unpack[CompletionFields]
    ) -> Completion:
        """Answer a request as a whole.

        Args:
            json: A pydantic model, or a JSON schema: the answer is JSON of this form, and each of its choices
                has it as ``parsed``.
            **fields: The fields of the completions contract; ``model`` is this model unless given.

        Raises:
            EngineError: one of its subclasses, as in :mod:`engine.errors`.
        """
        service = self.service
        if json is None:
            return await service.complete(service.parse({"model": self.name, **fields}))
        form = JsonForm(json)
        request = service.parse({"model": self.name, **form.added_to(fields)})
        return form.completion(await service.complete(request))

    async def stream(self, **fields: Unpack[CompletionFields]) -> AsyncGenerator[CompletionChunk, None]:
        """Yield the answer in chunks, of one choice each.

        Leaving the loop early stops the work; ``async with contextlib.aclosing(...)`` makes that certain.

        Args:
            **fields: As in :meth:`complete`.

        Raises:
            EngineError: one of its subclasses, as in :mod:`engine.errors`.
        """
        async with aclosing(await self.open_stream(**fields)) as stream:
            async for chunk in stream:
                yield chunk

    async def open_stream(self, **fields: Unpack[CompletionFields]) -> AnswerStream[CompletionChunk]:
        """Admit a request and wait for its first chunk."""
        return await self.service.stream(self.service.parse({"model": self.name, **fields, "stream": True}))

    @overload
    async def chat(self, *, json: None = None, **fields: Unpack[ChatFields]) -> ChatCompletion: ...
    @overload
    async def chat(self, *, json: type[T], **fields: Unpack[ChatFields]) -> ParsedChatCompletion[T]: ...
    @overload
    async def chat(
        self, *, json: dict[str, Any] | str, **fields: Unpack[ChatFields]
    ) -> ParsedChatCompletion[Any]: ...

    async def chat(
        self, *, json: type[Any] | dict[str, Any] | str | None = None, **fields: Unpack[ChatFields]
    ) -> ChatCompletion:
        """Answer a chat as a whole.

        Args:
            json: As in :meth:`complete`.
            **fields: The fields of the chat shape, ``messages`` among them.

        Raises:
            EngineError: one of its subclasses, as in :mod:`engine.errors`.
        """
        service = self.service
        if json is None:
            return await service.complete(service.parse_chat({"model": self.name, **fields}))
        form = JsonForm(json)
        request = service.parse_chat({"model": self.name, **form.added_to(fields)})
        return form.chat_completion(await service.complete(request))

    async def stream_chat(self, **fields: Unpack[ChatFields]) -> AsyncGenerator[ChatCompletionChunk, None]:
        """Yield the answer to a chat in chunks, as :meth:`stream` does.

        Args:
            **fields: As in :meth:`chat`.

        Raises:
            EngineError: one of its subclasses, as in :mod:`engine.errors`.
        """
        async with aclosing(await self.open_chat_stream(**fields)) as stream:
            async for chunk in stream:
                yield chunk

    async def open_chat_stream(self, **fields: Unpack[ChatFields]) -> AnswerStream[ChatCompletionChunk]:
        """Admit a request and wait for its first chunk."""
        service = self.service
        return await service.stream(service.parse_chat({"model": self.name, **fields, "stream": True}))

    async def tokenize(self, prompt: str, *, add_special_tokens: bool = True) -> Tokenized:
        """Return the tokens of a text, with those that a prompt begins or ends with unless told otherwise.

        Raises:
            InvalidRequestError: the text is not valid Unicode.
        """
        return await self.service.tokenize({"prompt": prompt, "add_special_tokens": add_special_tokens})

    def detokenize(self, tokens: list[int]) -> Detokenized:
        """Return the text of tokens.

        Raises:
            InvalidRequestError: a token is none of this model's.
        """
        return self.service.detokenize({"tokens": tokens})

    def tokenizer_info(self) -> TokenizerInfo:
        """Return the names of special tokens, and the chat template."""
        return self.service.tokenizer_info()

    def models(self) -> ModelList:
        """List the one model that is served."""
        return self.service.models()

    def close(self) -> None:
        """End every request and free the model; any number of threads may do so, at once or again."""
        if (service := self._service) is not None:
            service.close()
            if self._finalizer is not None:
                self._finalizer.detach()
            self._service = None  # the model's memory is free once what still reads an answer has done so

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)


def _stop_forgotten(service: CompletionService) -> None:
    """End what nobody closed and nobody can reach any more."""
    if service.is_alive:
        service.stop()
        warnings.warn(f"The model {service.name!r} was not closed.", ResourceWarning, stacklevel=2)
