"""The sequences that wait for a slot, and whose turn it is.

Clients take turns, as in start-time fair queueing (Goyal, Vin and Cheng, 1996) with a cost of one for each
sequence. Each turn advances the progress of a client by one, and the client with the least progress is next.
A client that begins to wait starts one ahead of the client that was served last. So a client with five
hundred requests does not hold up a client with one, no client waits for ever, and the sequences of a client
go in the order in which they came.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

    from engine.core.sequence import Prompt, Sequence


class _Line:
    """What one client waits for, and how far it has come."""

    __slots__ = ("progress", "waiting")

    def __init__(self, progress: int) -> None:
        self.progress = progress
        self.waiting: deque[tuple[int, Sequence]] = deque()  # (arrival, sequence)


class FairQueue:
    """Sequences that wait; iterating visits them in no particular order."""

    def __init__(self) -> None:
        self._lines: dict[
            Hashable, _Line
        ] = {}  # of clients that wait: a client earns nothing while it is away
        self._returned: list[tuple[int, Sequence]] = []  # a heap of those whose turn had come before
        self._present = 0  # the progress of the client that was served last
        self._arrivals = itertools.count()
        self._turns = itertools.count()
        self._n_waiting = 0

    def __len__(self) -> int:
        return self._n_waiting

    def __iter__(self) -> Iterator[Sequence]:
        yield from (sequence for _, sequence in self._returned)
        for line in self._lines.values():
            yield from (sequence for _, sequence in line.waiting)

    def add(self, prompt: Prompt) -> None:
        """Queue every sequence of a prompt behind those of its client."""
        line = self._lines.setdefault(prompt.client, _Line(self._present + 1))
        line.waiting.extend((next(self._arrivals), sequence) for sequence in prompt.sequences)
        self._n_waiting += len(prompt.sequences)

    def pop(self) -> Sequence:
        """Remove and return the sequence whose turn it is; its ``turn`` tells how many came before it."""
        return self._pop_returned(self._returned[0]) if self._returned else self._pop_of(self._lines.values())

    def pop_for(self, may_run: Callable[[Hashable], bool]) -> Sequence | None:
        """Do the same among the sequences of some clients; None: none of theirs waits."""
        if returned := [entry for entry in self._returned if may_run(entry[1].prompt.client)]:
            return self._pop_returned(min(returned))
        lines = [line for client, line in self._lines.items() if may_run(client)]
        return self._pop_of(lines) if lines else None

    def _pop_returned(self, entry: tuple[int, Sequence]) -> Sequence:
        self._returned.remove(entry)
        heapq.heapify(self._returned)
        self._n_waiting -= 1
        return entry[1]

    def _pop_of(self, lines: Iterable[_Line]) -> Sequence:
        line = min(lines, key=lambda line: (line.progress, line.waiting[0][0]))
        self._n_waiting -= 1
        self._present = line.progress
        line.progress += 1
        _, sequence = line.waiting.popleft()
        if not line.waiting:
            del self._lines[sequence.prompt.client]
        sequence.turn = next(self._turns)
        return sequence

    def put_back(self, sequence: Sequence) -> None:
        """Queue a sequence whose turn has come already, at its old place."""
        heapq.heappush(self._returned, (sequence.turn, sequence))
        self._n_waiting += 1

    def remove(self, unwanted: Callable[[Sequence], bool]) -> None:
        """Remove unwanted sequences; their turns are not counted."""
        self._returned = [entry for entry in self._returned if not unwanted(entry[1])]
        heapq.heapify(self._returned)
        for client, line in list(self._lines.items()):
            line.waiting = deque(entry for entry in line.waiting if not unwanted(entry[1]))
            if not line.waiting:
                del self._lines[client]
        self._n_waiting = sum(1 for _ in self)
