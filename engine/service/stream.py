"""One answer, chunk by chunk, while it is generated."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Self

from engine.contract.fields import StreamOptions
from engine.errors import EngineError
from engine.process_bound import ProcessBound
from engine.service.faults import as_internal_error
from engine.service.response import ChunkT

if TYPE_CHECKING:
    from engine.core.delta import Delta
    from engine.core.handle import RequestHandle
    from engine.service.deadline import Deadline
    from engine.service.request_stats import CountedRequest
    from engine.service.response import ResponseBuilder


class AnswerStream(ProcessBound, Generic[ChunkT]):
    """The chunks of one answer: an asynchronous iterator that must be closed.

    Args:
        builder: Builds the chunks.
        handle: Yields the deltas that are still to come.
        first: The first delta.
        deadline: When the stream has to be over.
        counted: Is told what becomes of the request.
    """

    def __init__(
        self,
        builder: ResponseBuilder[Any, ChunkT, Any],
        handle: RequestHandle,
        first: Delta,
        deadline: Deadline,
        counted: CountedRequest,
    ) -> None:
        self._builder = builder
        self._handle = handle
        self._counted = counted
        self._deadline = deadline
        self._first: Delta | None = first
        self._n_tokens = 0
        self._begun: set[int] = set()  # the choices that have had a chunk
        self._pieces: deque[Any] = deque(builder.opening())  # what is in no chunk yet
        options = builder.request.stream_options or StreamOptions()
        self.includes_usage = options.include_usage
        self._owes_usage = self.includes_usage
        self._usage_on_every_chunk = self.includes_usage and options.continuous_usage_stats

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ChunkT:
        """Return the next chunk.

        Raises:
            EngineError: the request has failed; no chunk follows.
        """
        try:  # not the context manager, which takes a microsecond for each chunk
            return await self._next_chunk()
        except StopAsyncIteration:
            raise
        except EngineError as error:
            self._counted.fail(error)
            raise
        except Exception as error:
            failure = as_internal_error(error)
            self._counted.fail(failure)
            raise failure from error

    def close(self) -> None:
        """Stop the work within one step, unless it is done; from any thread."""
        self._counted.leave()
        self._handle.close()

    async def aclose(self) -> None:
        """Do what :meth:`close` does, for :func:`contextlib.aclosing`."""
        self.close()

    def __del__(self) -> None:  # a stream that was dropped before anybody could close it
        self.close()

    async def _next_chunk(self) -> ChunkT:
        builder, pieces = self._builder, self._pieces
        if not pieces:
            try:
                delta = await self._next_delta()
            except StopAsyncIteration:
                self._counted.finish()
                if not self._owes_usage:
                    raise
                self._owes_usage = False
                return builder.chunk([], builder.usage(self._n_tokens))
            self._n_tokens += delta.n_tokens
            if delta.choice not in self._begun:
                self._begun.add(delta.choice)
                delta = builder.begin(delta)
            pieces.extend(builder.pieces(delta))
        usage = builder.usage(self._n_tokens) if self._usage_on_every_chunk else None
        return builder.chunk([pieces.popleft()], usage)

    async def _next_delta(self) -> Delta:
        first, self._first = self._first, None
        if first is not None:
            return first
        if self._deadline.is_none:
            return await anext(self._handle)
        async with self._deadline:
            return await anext(self._handle)
