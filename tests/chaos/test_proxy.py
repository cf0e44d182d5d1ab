"""The proxy does to bytes what its weather says, and nothing else."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.servers import HOST
from tests.chaos.proxy import Proxy
from tests.chaos.trouble import Trouble, Weather, random_weather

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import AsyncIterator

SENT = bytes(range(256)) * 8


class Clock:
    """Notes how long the proxy would sleep, and sleeps as long as it is told to."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.slept: list[float] = []
        self.began, self.may_end = asyncio.Event(), asyncio.Event()
        if is_open:
            self.may_end.set()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.began.set()
        await self.may_end.wait()


@asynccontextmanager
async def echo() -> AsyncIterator[int]:
    """Serve on a port what sends everything back."""

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1000):
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, HOST, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def connected(
    weather: Weather, clock: Clock
) -> AsyncIterator[tuple[Proxy, StreamReader, StreamWriter]]:
    """Connect to an echo through a proxy."""
    async with echo() as port, Proxy(port, weather, clock.sleep) as proxy:
        reader, writer = await asyncio.open_connection(HOST, proxy.port)
        yield proxy, reader, writer
        writer.close()


async def sent_through(weather: Weather, clock: Clock) -> tuple[bytes, int]:
    """Send and end; return what came back and how many connections were cut."""
    received = bytearray()
    async with connected(weather, clock) as (proxy, reader, writer):
        with suppress(OSError):
            writer.write(SENT)
            writer.write_eof()
            while piece := await reader.read(100):
                received += piece
        return bytes(received), proxy.cuts


def weather_of(direction: str, trouble: Trouble) -> Weather:
    return Weather(up=trouble) if direction == "up" else Weather(down=trouble)


@pytest.mark.parametrize(
    ("trouble", "sleeps"),
    [
        (Trouble(), 0),
        (Trouble(piece=7), 0),
        (Trouble(piece=1, pause=0.1), len(SENT)),
        (Trouble(stall_after=0, stall_seconds=3), 1),
        (Trouble(stall_after=500, stall_seconds=3), 1),
        (Trouble(stall_after=len(SENT), stall_seconds=3), 0),
        (Trouble(cut_after=len(SENT) + 1), 0),
    ],
)
@pytest.mark.parametrize("direction", ["up", "down"])
async def test_what_is_not_cut_arrives_as_it_was_sent(trouble: Trouble, sleeps: int, direction: str) -> None:
    clock = Clock()
    assert await sent_through(weather_of(direction, trouble), clock) == (SENT, 0)
    assert len(clock.slept) == sleeps


@pytest.mark.parametrize("place", [0, 1, 700])
@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("is_reset", [False, True])
async def test_nothing_passes_behind_a_cut(place: int, direction: str, is_reset: bool) -> None:
    weather = weather_of(direction, Trouble(cut_after=place))._replace(is_reset=is_reset)
    received, cuts = await sent_through(weather, Clock())
    assert cuts == 1
    assert len(received) <= place
    assert SENT.startswith(received)


@pytest.mark.parametrize("is_reset", [False, True])
async def test_a_cut_is_a_close_or_a_reset(is_reset: bool) -> None:
    async with connected(Weather(cut_seconds=0, is_reset=is_reset), Clock()) as (proxy, reader, _):
        if is_reset:
            with pytest.raises(ConnectionResetError):
                await reader.read()
        else:
            assert await reader.read() == b""
        assert proxy.cuts == 1


async def test_a_stall_holds_back_exactly_what_is_behind_it() -> None:
    clock = Clock(is_open=False)
    async with connected(Weather(up=Trouble(stall_after=10, stall_seconds=4)), clock) as (_, reader, writer):
        writer.write(SENT)
        writer.write_eof()
        await clock.began.wait()
        assert clock.slept == [4]
        assert await reader.readexactly(10) == SENT[:10]
        rest = asyncio.create_task(reader.read(1))
        await asyncio.sleep(0)
        assert not rest.done()
        clock.may_end.set()
        assert await rest + await reader.read() == SENT[10:]


@given(
    st.builds(
        Trouble,
        piece=st.integers(1, 9),
        stall_after=st.none() | st.integers(0, 50),
        cut_after=st.none() | st.integers(0, 50),
    ),
    st.integers(1, 20),
)
def test_no_piece_passes_a_place_where_something_happens(trouble: Trouble, available: int) -> None:
    places, passed = {0}, 0
    while passed < 60:
        size = trouble.size(passed, available)
        assert 0 < size <= min(available, trouble.piece)
        passed += size
        places.add(passed)
    assert {place for place in (trouble.stall_after, trouble.cut_after) if place is not None} <= places


def test_the_weather_is_of_every_kind_and_the_same_for_a_seed() -> None:
    one, same = ([random_weather(random) for _ in range(300)] for random in (Random(1), Random(1)))  # noqa: S311
    assert one == same
    troubles = [trouble for weather in one for trouble in (weather.up, weather.down)]
    for kind in ("stall_after", "cut_after", "pause"):
        assert any(getattr(trouble, kind) for trouble in troubles)
    assert any(trouble.piece == 1 for trouble in troubles)
    assert any(weather.cut_seconds is not None for weather in one)
    assert {weather.is_reset for weather in one} == {True, False}
