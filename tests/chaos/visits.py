"""One visit: a client, one or several requests at once over a bad network, and what becomes of each."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from enum import StrEnum
from typing import TYPE_CHECKING

import aiohttp

from benchmarks.client import CallError, GrpcClient, HttpClient
from benchmarks.servers import HOST
from engine.errors import QueueFullError, SlowRequestError, TooManyConnectionsError

if TYPE_CHECKING:
    from benchmarks.client import Client, Fields
    from tests.chaos.proxy import Proxy
    from tests.chaos.questions import Question, Way

PATIENCE = 100.0
"""Seconds in which a request is answered, refused or aborted on any machine, or else it is lost."""

_REFUSALS = {kind.code for kind in (QueueFullError, SlowRequestError, TooManyConnectionsError)}


class Outcome(StrEnum):
    """What became of a request."""

    ANSWERED = "answered"
    """The answer came as a whole, and it is right."""
    REFUSED = "refused"
    """The server refused it for want of room or time, in the form of the contract."""
    ABORTED = "aborted"
    """The network cut the connection and the client got an error; what came before was right."""
    LOST = "lost"
    """Nothing of it all within the client's patience."""
    WRONG = "wrong"
    """Another answer, or an error without a reason."""


def client_for(way: Way, port: int) -> Client:
    """Return a client of a door."""
    return HttpClient(HOST, port) if way.startswith("http") else GrpcClient(HOST, port)


async def ask(
    client: Client, question: Question, way: Way, proxy: Proxy | None, patience: float = PATIENCE
) -> tuple[Outcome, str]:
    """Ask once; return what became of it, and what was wrong.

    Args:
        client: A client of the way's door.
        question: What to ask.
        way: How.
        proxy: What lies between, which may cut the connection; None is a good network.
        patience: Seconds to wait.
    """
    events: list[Fields] = []
    try:
        async with (
            asyncio.timeout(patience),
            aclosing(client.events(question.fields_for(way))) as arriving,
        ):
            async for event in arriving:
                events.append(client.read(event))  # noqa: PERF401 - what came before an error counts, too
    except TimeoutError:
        return Outcome.LOST, f"{way}: nothing after {patience:g} s"
    except (CallError, OSError, aiohttp.ClientError) as error:
        outcome, fault = _judge_error(error, question, events, is_cut=proxy is not None and proxy.cuts > 0)
        return outcome, fault and f"{way}: {fault}; {proxy and proxy.weather}"
    if question.is_answered_by(events):
        return Outcome.ANSWERED, ""
    return Outcome.WRONG, f"{way}: {events} in answer to {question}"


def _judge_error(
    error: Exception, question: Question, events: list[Fields], *, is_cut: bool
) -> tuple[Outcome, str]:
    if not question.may_begin_with(events):
        return Outcome.WRONG, f"{events} in answer to {question}"
    if isinstance(error, CallError) and error.code in _REFUSALS and not events:
        return Outcome.REFUSED, ""
    if is_cut:
        return Outcome.ABORTED, ""
    return Outcome.WRONG, f"{type(error).__name__} without a cut: {error}"
