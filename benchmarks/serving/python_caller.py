"""The Python door, called in the engine's own process: the tasks of one event loop read its streams."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from benchmarks.serving.reply import CallError, Piece
from engine.errors import EngineError

if TYPE_CHECKING:
    from benchmarks.serving.reply import Reply
    from engine.contract.responses import CompletionChunk
    from engine.llm import AsyncLLM


class PythonCaller:
    """:meth:`engine.llm.AsyncLLM.stream`.

    Args:
        llm: The engine; whoever made it closes it.
    """

    def __init__(self, llm: AsyncLLM) -> None:
        self._llm = llm

    async def call(self, fields: dict[str, Any], reply: Reply) -> None:
        stream_options = {"include_usage": True}
        try:
            async for chunk in self._llm.stream(**{**fields, "stream_options": stream_options}):
                reply.arrivals.append((perf_counter(), chunk))
        except EngineError as error:
            raise CallError(str(error)) from None

    def piece(self, payload: CompletionChunk) -> Piece:
        return Piece(
            is_text=any(choice.text or choice.logprobs for choice in payload.choices),
            at_length=any(choice.finish_reason == "length" for choice in payload.choices),
            completion_tokens=payload.usage.completion_tokens if payload.usage else None,
        )

    async def close(self) -> None:
        """The engine serves the next job too."""
