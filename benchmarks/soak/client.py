"""One client: it asks, reads or leaves, and asks again."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from benchmarks.soak.part import Answer, RefusedError

if TYPE_CHECKING:
    from benchmarks.soak.part import Door
    from benchmarks.soak.request import Request, Requests
    from benchmarks.soak.tally import Tally

_PATIENCE = 600.0  # seconds in which any answer has to be there, also on a busy machine


class Client:
    """Asks one thing after the other.

    Args:
        door: Whom it asks.
        requests: What it asks.
        tally: Where it counts what came of it.
    """

    def __init__(self, door: Door, requests: Requests, tally: Tally) -> None:
        self._door = door
        self._requests = requests
        self._tally = tally

    async def ask_until(self, told_to_stop: asyncio.Event) -> None:
        """Ask until told to stop, and finish what has been asked."""
        while not told_to_stop.is_set():
            await self._ask(self._requests.next())
        await self._door.close()

    async def _ask(self, request: Request) -> None:
        try:
            async with asyncio.timeout(request.patience or _PATIENCE):
                answer = await self._read(request)
        except RefusedError as refusal:
            self._note_refusal(request, refusal)
        except TimeoutError:
            self._note_impatience(request)
        except Exception as error:  # whatever it is, it is what this run looks for
            self._tally.note_error(f"{type(error).__name__}: {error}")
        else:
            self._note(request, answer)

    async def _read(self, request: Request) -> Answer:
        answer = Answer()
        async with aclosing(self._door.ask(request)) as parts:
            async for part in parts:
                answer.add(part)
                if answer.n_parts == request.most_parts:
                    break
        return answer

    def _note(self, request: Request, answer: Answer) -> None:
        if request.is_bad:
            self._tally.note_error(f"a bad request was answered: {request.fields}")
        elif answer.n_parts == request.most_parts:
            self._tally.cancelled += 1
        elif problem := answer.problem(request):
            self._tally.note_error(f"{problem}, in the answer to {request.fields}")
        else:
            self._tally.completed += 1
            self._tally.completion_tokens += answer.completion_tokens or 0

    def _note_refusal(self, request: Request, refusal: RefusedError) -> None:
        if request.is_bad and refusal.blames_request:
            self._tally.refused += 1
        else:
            self._tally.note_error(f"{refusal}, in answer to {request.fields}")

    def _note_impatience(self, request: Request) -> None:
        if request.patience is None:
            self._tally.note_error(f"no answer within {_PATIENCE:.0f} s to {request.fields}")
        else:
            self._tally.cancelled += 1
