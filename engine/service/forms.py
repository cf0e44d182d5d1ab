"""From the form that a request asks for to a matcher: compiled beside the event loop, within a time limit."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from engine.errors import InvalidRequestError
from engine.grammar.form import GrammarError

if TYPE_CHECKING:
    from engine.backend.base import Backend
    from engine.contract.forms import AskedForm
    from engine.grammar.compiler import GrammarCompiler
    from engine.grammar.matcher import Matcher

_THREADS: Final = 2
"""Forms that are compiled at the same time."""
_SECONDS: Final = 10.0
"""How long a request waits for its form to be compiled."""


class Forms:
    """The forms that answers of one model can be given.

    Args:
        backend: The model.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._compiler: GrammarCompiler | None = None
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="nucleus-forms")

    async def matcher(self, asked: AskedForm) -> Matcher:
        """Return the matcher of a form at the beginning of an answer.

        Raises:
            InvalidRequestError: naming the field and, in a schema, the place.
        """
        matcher = await self._compiled(asked)
        matcher.field = asked.field
        return matcher

    async def _compiled(self, asked: AskedForm) -> Matcher:
        loop = asyncio.get_running_loop()
        try:
            compiler = self._compiler
            if compiler is None:
                compiler = await loop.run_in_executor(self._threads, self._prepare)
            if compiler.is_cached(asked.form):
                return compiler.compile(asked.form)
            compiling = loop.run_in_executor(self._threads, compiler.compile, asked.form)
            return await asyncio.wait_for(compiling, _SECONDS)
        except GrammarError as error:
            place = f" at '{error.path}'" if error.path else ""
            raise _refused(asked, f"cannot be used{place}: {error.message.rstrip('.')}") from None
        except TimeoutError:
            raise _refused(asked, f"takes longer than {_SECONDS:.0f} seconds to prepare") from None

    def _prepare(self) -> GrammarCompiler:
        """Build what all forms need, unless it is there; the first request that asks for one waits for it."""
        with self._lock:
            if self._compiler is None:
                self._compiler = _compiler_of(self._backend)
            return self._compiler

    def close(self) -> None:
        """End the threads when they have nothing to do; whoever waits is then told that all is closed."""
        self._threads.shutdown(wait=False)


def _refused(asked: AskedForm, problem: str) -> InvalidRequestError:
    return InvalidRequestError(f"'{asked.field}' {problem}.", param=asked.field.partition(".")[0])


def _compiler_of(backend: Backend) -> GrammarCompiler:
    """Build a compiler for the tokens of a model; this takes a second for a large vocabulary."""
    from engine.grammar.compiler import GrammarCompiler
    from engine.grammar.tokenizer import tokenizer_of

    info = backend.info
    if not info.eog_tokens:
        raise GrammarError("this model has no token that ends an answer")
    pieces = backend.pieces()
    tokenizer = tokenizer_of(
        pieces,
        special={token for token, piece in enumerate(pieces) if not piece},
        ends=info.eog_tokens,
        tokenize=lambda text: backend.tokenize(text, add_special=False),
        native=backend.native_tokenizer(),
    )
    return GrammarCompiler(tokenizer)
