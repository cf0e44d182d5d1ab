"""The Python door: :class:`AsyncLLM`, and :class:`LLM` with the same methods for plain code."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pydantic import ValidationError

from engine.contract.messages import to_invalid_request
from engine.errors import UnavailableError
from engine.loading.launch import launch
from engine.loading.options import EngineOptions
from engine.loading.packaged import DEFAULT_MODEL
from engine.service.event_loop import new_event_loop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Iterator
    from types import TracebackType

    from typing_extensions import Unpack

    from engine.contract.kwargs import CompletionFields
    from engine.contract.responses import (
        Completion,
        CompletionChunk,
        Detokenized,
        ModelList,
        Tokenized,
        TokenizerInfo,
    )
    from engine.service.service import CompletionService
    from engine.service.stream import CompletionStream

T = TypeVar("T")


class AsyncLLM:
    """A model in this process, for an event loop.

    Loading blocks for as long as the file takes to read. Use it as an asynchronous context manager, or call
    :meth:`close`.

    Args:
        model: A GGUF file, a packaged model's name, or ``user/repo:QUANT`` of the hub.
        **options: The fields of :class:`engine.loading.options.EngineOptions`: ``alias``, ``parallel``,
            ``ctx_size``, ``prefix_cache``, ``threads``, ``gpu_layers``, ``max_logprobs``, ``max_requests``.

    Raises:
        ModelLoadError: the model cannot be found or loaded.
        InvalidRequestError: an option is unknown or out of range.
    """

    def __init__(self, model: str = DEFAULT_MODEL, **options: Any) -> None:
        self.service: CompletionService = launch(_options(model, options)).service

    @classmethod
    def of(cls, service: CompletionService) -> Self:
        """Return the Python door of a service that is running already."""
        llm = cls.__new__(cls)
        llm.service = service
        return llm

    @property
    def name(self) -> str:
        """The model's name in answers."""
        return self.service.name

    async def complete(self, **fields: Unpack[CompletionFields]) -> Completion:
        """Answer a request as a whole.

        Args:
            **fields: The fields of the completions contract; ``model`` is this model unless given.

        Raises:
            EngineError: one of its subclasses, as in :mod:`engine.errors`.
        """
        return await self.service.complete(self.service.parse({"model": self.name, **fields}))

    async def stream(self, **fields: Unpack[CompletionFields]) -> AsyncGenerator[CompletionChunk, None]:
        """Yield the answer in chunks, of one choice each.

        Leaving the loop early stops the work; ``async with contextlib.aclosing(...)`` makes that certain.

        Args:
            **fields: As in :meth:`complete`.

        Raises:
            EngineError: one of its subclasses, as in :mod:`engine.errors`.
        """
        stream = await self.open_stream(**fields)
        try:
            async for chunk in stream:
                yield chunk
        finally:
            await stream.aclose()

    async def open_stream(self, **fields: Unpack[CompletionFields]) -> CompletionStream:
        """Admit a request and wait for its first chunk."""
        return await self.service.stream(self.service.parse({"model": self.name, **fields, "stream": True}))

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
        """End every request and free the model."""
        self.service.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)


class LLM:
    """A model in this process, for code without an event loop; any number of threads may use it at once.

    Its arguments, methods and errors are those of :class:`AsyncLLM`, which does the work in a thread.
    """

    def __init__(self, model: str = DEFAULT_MODEL, **options: Any) -> None:
        self._llm = AsyncLLM(model, **options)
        self._loop = new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nucleus-llm", daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        """The model's name in answers."""
        return self._llm.name

    def complete(self, **fields: Unpack[CompletionFields]) -> Completion:
        """Answer a request as a whole; see :meth:`AsyncLLM.complete`."""
        return self._wait(self._llm.complete(**fields))

    def stream(self, **fields: Unpack[CompletionFields]) -> Iterator[CompletionChunk]:
        """Yield the answer in chunks; see :meth:`AsyncLLM.stream`. Closing the iterator stops the work."""
        stream = self._wait(self._llm.open_stream(**fields))
        try:
            while (chunk := self._wait(_next(stream))) is not None:
                yield chunk
        finally:
            if not self._loop.is_closed():  # or the engine ended the request itself
                self._wait(stream.aclose())

    def tokenize(self, prompt: str, *, add_special_tokens: bool = True) -> Tokenized:
        """Return the tokens of a text; see :meth:`AsyncLLM.tokenize`."""
        return self._wait(self._llm.tokenize(prompt, add_special_tokens=add_special_tokens))

    def detokenize(self, tokens: list[int]) -> Detokenized:
        """Return the text of tokens; see :meth:`AsyncLLM.detokenize`."""
        return self._llm.detokenize(tokens)

    def tokenizer_info(self) -> TokenizerInfo:
        """Return the names of special tokens, and the chat template."""
        return self._llm.tokenizer_info()

    def models(self) -> ModelList:
        """List the one model that is served."""
        return self._llm.models()

    def close(self) -> None:
        """End every request and free the model."""
        self._llm.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop.is_closed():
            work.close()
            raise UnavailableError("The model is closed.")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # an interrupt at the keyboard ends the request too
            raise


async def _next(stream: CompletionStream) -> CompletionChunk | None:
    return await anext(stream, None)


def _options(model: str, options: dict[str, Any]) -> EngineOptions:
    try:
        return EngineOptions(model=model, **options)
    except ValidationError as error:
        raise to_invalid_request(error, is_flat=True) from None
