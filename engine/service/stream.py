"""One answer, chunk by chunk, while it is generated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from engine.contract.requests import StreamOptions

if TYPE_CHECKING:
    from engine.contract.responses import CompletionChunk
    from engine.core.engine import RequestHandle
    from engine.core.sequence import Delta
    from engine.service.response import ResponseBuilder


class CompletionStream:
    """The chunks of one answer: an asynchronous iterator that must be closed.

    Args:
        writer: What writes the chunks.
        run: What the engine tells from now on.
        first: What it has told.
    """

    def __init__(self, writer: ResponseBuilder, run: RequestHandle, first: Delta) -> None:
        self._writer = writer
        self._run = run
        self._first: Delta | None = first
        self._n_tokens = 0
        self._begun: set[int] = set()  # the choices of which something has been told
        options = writer.request.stream_options or StreamOptions()
        self.includes_usage = options.include_usage
        self._owes_usage = self.includes_usage
        self._tells_usage_always = self.includes_usage and options.continuous_usage_stats

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> CompletionChunk:
        """Return the next chunk.

        Raises:
            EngineError: the request has failed; no chunk follows.
        """
        writer = self._writer
        try:
            delta = await self._next_delta()
        except StopAsyncIteration:
            if not self._owes_usage:
                raise
            self._owes_usage = False
            return writer.chunk([], writer.usage(self._n_tokens))
        self._n_tokens += delta.n_tokens
        if delta.choice not in self._begun:
            self._begun.add(delta.choice)
            delta = writer.begin(delta)
        usage = writer.usage(self._n_tokens) if self._tells_usage_always else None
        return writer.chunk([writer.choice(delta)], usage)

    async def aclose(self) -> None:
        """Stop the work within one step, unless it is done."""
        self._run.close()

    async def _next_delta(self) -> Delta:
        first, self._first = self._first, None
        return first if first is not None else await anext(self._run)
