"""A stream that breaks is resumed at the next address: what both clients share, whatever their wire.

Every request has a seed and asks for token ids. When a stream breaks, the same request is sent to the next
address with the tokens that have arrived, and goes on behind them. Who reads sees one stream.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

ChunkT = TypeVar("ChunkT")


class BrokenStreamError(Exception):
    """A stream has broken off, or did not begin, in a way that another server can make good.

    Args:
        reason: What is raised if none can.
    """

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How often a stream is resumed, and after which time."""

    most: int = 6
    """Breaks in a row, without a token between them, after which the last one's error is raised."""
    first_delay: float = 0.2
    """Seconds before the second attempt in a row; the first goes to the next address at once."""
    longest_delay: float = 5.0
    """Seconds up to which the delay doubles."""
    patience: float | None = None
    """Seconds without a chunk after which a stream counts as broken; None: there is no limit."""

    def delay(self, breaks: int) -> float:
        """Return the seconds to wait after so many breaks in a row: up to half of them less, at random."""
        if breaks < 2:
            return 0.0
        delay = min(self.first_delay * 2.0 ** (breaks - 2), self.longest_delay)
        return delay * random.uniform(0.5, 1)  # noqa: S311 - so that clients do not come back together


class Wire(Protocol[ChunkT]):
    """How the chunks of one wire are read."""

    def token_ids(self, chunk: ChunkT) -> Sequence[int]:
        """Return the tokens that a chunk adds."""

    def has_choice(self, chunk: ChunkT) -> bool:
        """Return True if a chunk is a piece of the answer."""

    def begins(self, chunk: ChunkT) -> bool:
        """Return True if a chunk says who speaks, and nothing else."""

    def ends(self, chunk: ChunkT) -> bool:
        """Return True if a chunk has the reason why the answer ended."""

    def joined_to(self, first: ChunkT, chunk: ChunkT) -> ChunkT:
        """Return a chunk of a later stream as one of the first: with its id and its time."""


class _Reading(Generic[ChunkT]):
    """What has been read of an answer, over all of its streams."""

    def __init__(self, wire: Wire[ChunkT], *, wants_usage: bool) -> None:
        self._wire = wire
        self._wants_usage = wants_usage
        self._first: ChunkT | None = None
        self._has_begun = False
        self.tokens: list[int] = []
        self.has_ended = False
        self.is_whole = False

    def take(self, chunk: ChunkT) -> ChunkT | None:
        """Return a chunk as it is to be told; None: it repeats what was told."""
        wire = self._wire
        if wire.has_choice(chunk) and (self.has_ended or (wire.begins(chunk) and self._has_begun)):
            return None
        self._has_begun = self._has_begun or wire.begins(chunk)
        self.has_ended = self.has_ended or wire.ends(chunk)
        self.is_whole = self.has_ended and (not self._wants_usage or not wire.has_choice(chunk))
        self.tokens += wire.token_ids(chunk)
        if self._first is None:
            self._first = chunk
            return chunk
        return wire.joined_to(self._first, chunk)


async def read_resuming(
    ask: Callable[[int, list[int]], AsyncGenerator[ChunkT, None]],
    wire: Wire[ChunkT],
    retries: Retries,
    *,
    wants_usage: bool,
) -> AsyncGenerator[ChunkT, None]:
    """Yield the chunks of one answer, whichever servers they come from.

    Args:
        ask: Begins a stream, given how many have broken before it, and the tokens that have arrived.
        wire: Reads the chunks.
        retries: When to resume.
        wants_usage: Whether a chunk with the usage follows the end of the answer.

    Raises:
        Exception: the reason of the last break, after too many in a row; at once what no server makes good.
    """
    reading, total, in_a_row = _Reading(wire, wants_usage=wants_usage), 0, 0
    while True:
        try:
            async with aclosing(ask(total, reading.tokens)) as chunks:
                while (chunk := await _next(chunks, retries.patience)) is not None:
                    in_a_row = 0 if wire.token_ids(chunk) else in_a_row
                    if (told := reading.take(chunk)) is not None:
                        yield told
            if reading.has_ended:
                return
            raise BrokenStreamError(ConnectionResetError("The stream ended before the answer did."))
        except BrokenStreamError as broken:
            if reading.is_whole:
                return
            total, in_a_row = total + 1, in_a_row + 1
            if in_a_row > retries.most:
                raise broken.reason from None
            await asyncio.sleep(retries.delay(in_a_row))


async def _next(chunks: AsyncGenerator[ChunkT, None], patience: float | None) -> ChunkT | None:
    """Return the next chunk; None: there is none.

    Raises:
        BrokenStreamError: it did not come in time.
    """
    try:
        async with asyncio.timeout(patience):
            return await anext(chunks, None)
    except TimeoutError:
        raise BrokenStreamError(TimeoutError(f"No chunk came for {patience} seconds.")) from None


def fresh_seed() -> int:
    """Return a seed for a request that has none: its streams must draw the same."""
    return secrets.randbits(63)
