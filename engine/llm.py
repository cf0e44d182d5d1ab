"""The Python door for code that blocks: :class:`LLM`, with the methods of :class:`AsyncLLM`."""

from __future__ import annotations

import threading
import weakref
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from typing_extensions import override

from engine.async_llm import AsyncLLM
from engine.errors import EngineError, UnavailableError
from engine.many.llm import Many
from engine.models.packaged import DEFAULT_MODEL
from engine.process_bound import ProcessBound
from engine.service.event_loop import LoopThread

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator
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


class LLM(Many, ProcessBound):
    """A model in this process, for code that blocks; any number of threads may use it at once.

    Its arguments, methods and errors are those of :class:`AsyncLLM`, which does the work in a thread.
    """

    def __init__(self, model: str = DEFAULT_MODEL, **options: Any) -> None:
        self._llm = AsyncLLM(model, **options)
        self._loop = LoopThread("nucleus-llm")
        weakref.finalize(self, self._loop.stop).atexit = False

    @property
    def name(self) -> str:
        """The model's name in answers."""
        return self._llm.name

    @property
    @override
    def _service(self) -> CompletionService:
        return self._llm.service

    @overload
    def complete(self, *, json: None = None, **fields: Unpack[CompletionFields]) -> Completion: ...
    @overload
    def complete(self, *, json: type[T], **fields: Unpack[CompletionFields]) -> ParsedCompletion[T]: ...
    @overload
    def complete(
        self, *, json: dict[str, Any] | str, **fields: Unpack[CompletionFields]
    ) -> ParsedCompletion[Any]: ...

    def complete(
        self, *, json: type[Any] | dict[str, Any] | str | None = None, **fields: Unpack[CompletionFields]
    ) -> Completion:
        """Answer a request as a whole; see :meth:`AsyncLLM.complete`."""
        return self._wait(self._llm.complete(json=json, **fields))

    def stream(self, **fields: Unpack[CompletionFields]) -> Generator[CompletionChunk]:
        """Yield the answer in chunks; see :meth:`AsyncLLM.stream`. Closing the iterator stops the work."""
        yield from self._chunks(self._llm.open_stream(**fields))

    @overload
    def chat(self, *, json: None = None, **fields: Unpack[ChatFields]) -> ChatCompletion: ...
    @overload
    def chat(self, *, json: type[T], **fields: Unpack[ChatFields]) -> ParsedChatCompletion[T]: ...
    @overload
    def chat(
        self, *, json: dict[str, Any] | str, **fields: Unpack[ChatFields]
    ) -> ParsedChatCompletion[Any]: ...

    def chat(
        self, *, json: type[Any] | dict[str, Any] | str | None = None, **fields: Unpack[ChatFields]
    ) -> ChatCompletion:
        """Answer a chat as a whole; see :meth:`AsyncLLM.chat`.

        >>> llm.chat(messages=[{"role": "user", "content": "Hi"}]).choices[0].message.content
        """
        return self._wait(self._llm.chat(json=json, **fields))

    def stream_chat(self, **fields: Unpack[ChatFields]) -> Generator[ChatCompletionChunk]:
        """Yield the answer to a chat in chunks; see :meth:`AsyncLLM.stream_chat` and :meth:`stream`."""
        yield from self._chunks(self._llm.open_chat_stream(**fields))

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
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _chunks(self, opening: Coroutine[Any, Any, AnswerStream[T]]) -> Generator[T]:
        stream = self._wait(opening)
        with closing(stream), suppress(StopAsyncIteration):
            while True:
                yield self._wait(stream.__anext__())

    @override
    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            self._check_open(work)
            return self._loop.wait(work)
        except UnavailableError:
            if self._llm._is_exiting and threading.current_thread().daemon:
                threading.Event().wait()  # the interpreter stops daemon threads; this one stops here
            raise

    def _check_open(self, work: Coroutine[Any, Any, T]) -> None:
        try:
            self._llm.service.check_open()
        except EngineError:
            work.close()
            raise
