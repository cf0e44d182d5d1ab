"""A stream that breaks, anywhere and again and again, is the stream that does not."""

from __future__ import annotations

from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.client.http import _WIRE
from engine.client.resuming import BrokenStreamError, Retries, read_resuming
from engine.errors import UnavailableError
from tests.quick import AnyText, engine_of, service_of
from tests.test_resuming import Parts, requests

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from engine.service.service import CompletionService
    from tests.doors import Answer

GENERATED = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
AT_ONCE = Retries(first_delay=0, longest_delay=0)


@pytest.fixture(scope="module")
def quick() -> Iterator[CompletionService]:
    with closing(engine_of(Parts(endless=False, n_cells=512))) as engine:
        yield service_of(engine)


@pytest.fixture
def letters() -> Iterator[CompletionService]:
    """A service that gives a chunk for each token."""
    with closing(engine_of(AnyText())) as engine:
        yield service_of(engine)


class Servers:
    """Servers that break a stream after so many chunks each, and whole ones behind them.

    Attributes:
        asked: The tokens that each of them was sent.
    """

    def __init__(self, service: CompletionService, fields: Answer, breaks: list[int]) -> None:
        self._service, self._fields, self._breaks = service, fields, breaks
        self.asked: list[int] = []

    async def ask(self, n_broken: int, tokens: list[int]) -> AsyncGenerator[Answer, None]:
        self.asked.append(len(tokens))
        left = self._breaks[n_broken] if n_broken < len(self._breaks) else None
        echo = {"echo": False} if tokens and self._fields.get("echo") else {}
        parse = self._service.parse_chat if "messages" in self._fields else self._service.parse
        rest = {"resume_token_ids": tokens, "stream": True, "return_token_ids": True, **echo}
        request: Any = parse({"model": "fake", **self._fields, **rest})
        async with aclosing(await self._service.stream(request)) as chunks:
            async for chunk in chunks:
                if left == 0:
                    break
                left = left if left is None else left - 1
                yield chunk.model_dump()
            else:
                if left is None:
                    return
        raise BrokenStreamError(UnavailableError("It was killed."))

    async def read(self, retries: Retries = AT_ONCE) -> list[Answer]:
        wants_usage = bool((self._fields.get("stream_options") or {}).get("include_usage"))
        chunks = read_resuming(self.ask, _WIRE, retries, wants_usage=wants_usage)
        return [chunk async for chunk in chunks]


def comparable(chunks: list[Answer]) -> list[Answer]:
    """Leave out what differs between any two answers, and log-probabilities of no tokens."""
    for choice in [choice for chunk in chunks for choice in chunk["choices"] if not choice["token_ids"]]:
        choice["logprobs"] = None
    usages = [{**(chunk.get("usage") or {}), "prompt_tokens_details": None} for chunk in chunks]
    return [
        {**chunk, "id": None, "created": None, "usage": usage}
        for chunk, usage in zip(chunks, usages, strict=True)
    ]


@settings(GENERATED, max_examples=80)
@given(
    fields=requests(),
    breaks=st.lists(st.integers(0, 6), max_size=4),
    options=st.sampled_from([None, {"include_usage": True}]),
    echo=st.booleans(),
)
async def test_a_stream_that_breaks_is_the_stream_that_does_not(
    quick: CompletionService, fields: Answer, breaks: list[int], options: Answer | None, *, echo: bool
) -> None:
    fields |= {"stream_options": options} | ({} if "messages" in fields else {"echo": echo})
    fields.pop("structured_outputs", None)  # some forms of the strategy cannot be followed to their end
    whole = await Servers(quick, fields, []).read()
    broken = await Servers(quick, fields, breaks).read()
    assert len({chunk["id"] for chunk in broken}) == 1
    assert comparable(broken) == comparable(whole)


ASK: dict[str, Any] = {"prompt": "ABC", "seed": 1, "max_tokens": 8}


async def test_breaks_in_a_row_come_to_an_end(letters: CompletionService) -> None:
    servers = Servers(letters, ASK, [2, *[0] * 10])
    with pytest.raises(UnavailableError, match="It was killed"):
        await servers.read(Retries(most=3, first_delay=0, longest_delay=0))
    assert servers.asked == [0, 2, 2, 2]


async def test_breaks_with_tokens_between_them_do_not_count_together(letters: CompletionService) -> None:
    servers = Servers(letters, ASK, [1] * 7)
    chunks = await servers.read(Retries(most=1, first_delay=0, longest_delay=0))
    assert servers.asked == [*range(8)]
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


async def test_what_breaks_behind_the_end_is_not_asked_for_again(letters: CompletionService) -> None:
    servers = Servers(letters, ASK, [8])
    assert len(await servers.read()) == 8
    assert servers.asked == [0]


async def test_a_server_that_says_nothing_more_is_left() -> None:
    backend = AnyText(gated=True)
    backend.let(3)
    with closing(engine_of(backend)) as engine:
        servers = Servers(service_of(engine), ASK, [])
        with pytest.raises(TimeoutError, match="No chunk came for"):
            await servers.read(Retries(most=0, patience=1))
        assert servers.asked == [0]
        backend.open_gate()


def test_delays_double_up_to_the_longest() -> None:
    retries = Retries(first_delay=0.5, longest_delay=3)
    assert retries.delay(1) == 0
    for breaks, most in ((2, 0.5), (3, 1), (4, 2), (5, 3), (50, 3)):
        assert most / 2 <= retries.delay(breaks) <= most
