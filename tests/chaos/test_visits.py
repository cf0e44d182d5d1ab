"""What becomes of a request is judged by what its client saw, and by what the network did."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from benchmarks.client import CallError, Fields
from tests.chaos.proxy import Proxy
from tests.chaos.questions import WAYS, Question, Way
from tests.chaos.trouble import Weather
from tests.chaos.visits import Outcome, ask

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


def event(text: str, finish_reason: str | None = None, usage: Fields | None = None) -> Fields:
    choice = {"text": text, "index": 0, "logprobs": None, "finish_reason": finish_reason}
    return {"choices": [choice], "usage": usage}


QUESTION = Question({"prompt": "A"}, event("one two", "stop")["choices"], {"completion_tokens": 2})
RIGHT = [event("one"), event(" two", "stop", {"completion_tokens": 2, "prompt_tokens_details": {}})]
GONE = CallError("the connection ended before the answer")
FULL = CallError("full", "queue_full")


class Scripted:
    """A client that gets what it is told to."""

    def __init__(self, events: list[Fields], end: BaseException | None) -> None:
        self._events, self._end = events, end

    async def events(self, fields: Fields) -> AsyncGenerator[Any, None]:  # noqa: ARG002
        for told in self._events:
            yield told
        if self._end is not None:
            raise self._end

    def read(self, told: Any) -> Fields:
        fields: Fields = told
        return fields

    async def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(
    ("events", "end", "cuts", "outcome"),
    [
        (RIGHT, None, 0, Outcome.ANSWERED),
        (RIGHT, None, 1, Outcome.ANSWERED),
        ([event("one two", "length", {"completion_tokens": 2})], None, 0, Outcome.WRONG),
        ([event("one too", "stop", {"completion_tokens": 2})], None, 0, Outcome.WRONG),
        ([event("one two", "stop", {"completion_tokens": 3})], None, 0, Outcome.WRONG),
        ([event("one two", "stop")], None, 0, Outcome.WRONG),
        (RIGHT[:1], None, 1, Outcome.WRONG),
        ([], None, 1, Outcome.WRONG),
        ([], FULL, 0, Outcome.REFUSED),
        (RIGHT[:1], FULL, 0, Outcome.WRONG),
        ([], CallError("bad", "invalid_request_error"), 0, Outcome.WRONG),
        ([], CallError("HTTP 429 full"), 0, Outcome.WRONG),
        ([], CallError("fault", "internal_error"), 0, Outcome.WRONG),
        ([], GONE, 0, Outcome.WRONG),
        ([], GONE, 1, Outcome.ABORTED),
        (RIGHT[:1], GONE, 1, Outcome.ABORTED),
        ([event("two")], GONE, 1, Outcome.WRONG),
        ([], ConnectionResetError(), 1, Outcome.ABORTED),
        ([], aiohttp.ClientOSError(), 0, Outcome.WRONG),
    ],
)
async def test_a_request_is_judged(
    events: list[Fields], end: BaseException | None, cuts: int, outcome: Outcome
) -> None:
    proxy = Proxy(0, Weather())
    proxy.cuts = cuts
    found, fault = await ask(Scripted(events, end), QUESTION, "http stream", proxy)
    assert found is outcome
    assert bool(fault) == (outcome is Outcome.WRONG)


async def test_what_never_ends_is_lost() -> None:
    class Silent(Scripted):
        async def events(self, fields: Fields) -> AsyncGenerator[Any, None]:  # noqa: ARG002
            await asyncio.Event().wait()
            yield

    found, fault = await ask(Silent([], None), QUESTION, "grpc", None, patience=0)
    assert (found, fault) == (Outcome.LOST, "grpc: nothing after 0 s")


async def test_a_fault_of_the_client_is_no_outcome() -> None:
    with pytest.raises(ZeroDivisionError):
        await ask(Scripted([], ZeroDivisionError()), QUESTION, "http", None)


@pytest.mark.parametrize("way", WAYS)
def test_a_stream_is_asked_for_with_its_usage(way: Way) -> None:
    fields = QUESTION.fields_for(way)
    assert fields.get("stream", False) == way.endswith("stream") == ("stream_options" in fields)
