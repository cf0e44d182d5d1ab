"""A model that fails a step ends what runs; one that works no more ends the engine, and all see it."""

from __future__ import annotations

import asyncio
from itertools import cycle
from typing import TYPE_CHECKING, Any, cast

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.client import CallError
from engine.backend.base import BackendError
from tests.doors import Door, GrpcDoor, HttpDoor
from tests.inside.outcomes import told
from tests.quick import AnyText, engine_of, service_of

if TYPE_CHECKING:
    from engine.core.engine import Engine
    from tests.doors import Answer

TEXT = "the exception's own words"
ASK: Answer = {"prompt": "ABC", "max_tokens": 4, "seed": 1}
ERRORS: list[type[Exception]] = [BackendError, RuntimeError, MemoryError]
ENDS: list[type[BaseException]] = [BackendError, MemoryError, KeyboardInterrupt, GeneratorExit]
OPERATIONS = ["decode", "copy", "truncate", "save", "restore"]


class Fragile(AnyText):
    """A fake of which every operation can be made to fail, once or for ever."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.failing: dict[str, BaseException] = {}
        self.is_lasting = False

    def fails(self, name: str) -> None:
        error = self.failing.get(name)
        if error is not None:
            if not self.is_lasting:
                del self.failing[name]
            raise error

    def start(self, batch: Any) -> None:
        super().start(batch)
        self.fails("decode")

    def copy(self, source: int, target: int, length: int) -> None:
        self.fails("copy")
        super().copy(source, target, length)

    def truncate(self, slot: int, length: int) -> None:
        self.fails("truncate")
        super().truncate(slot, length)

    def save(self, slot: int, length: int) -> Any:
        self.fails("save")
        return super().save(slot, length)

    def restore(self, slot: int, saved: Any, length: int) -> None:
        self.fails("restore")
        super().restore(slot, saved, length)

    def close(self) -> None:
        super().close()
        self.fails("close")


@pytest.fixture
def backend() -> Fragile:
    return Fragile()


async def is_healthy(door: Door) -> bool:
    """Return what the door says of its health, in all the ways that it has."""
    said = {door.service.is_alive, door.service.is_ready, door.service.snapshot().is_alive}
    if isinstance(door, HttpDoor):
        for path in ("/health", "/ready"):
            said.add((await door.routes.get(path)).status_code == 200)
    if isinstance(door, GrpcDoor):
        health: Any = health_pb2_grpc.HealthStub(cast("Any", door.channel))
        answer = await health.Check(health_pb2.HealthCheckRequest())
        said.add(answer.status == health_pb2.HealthCheckResponse.SERVING)
    (healthy,) = said
    return healthy


@pytest.mark.parametrize(("operation", "kind"), [*zip(OPERATIONS, cycle(ERRORS), strict=False)])
async def test_a_step_that_fails_ends_what_runs_and_nothing_else(
    quick: Door, backend: Fragile, operation: str, kind: type[Exception]
) -> None:
    alone = await quick.complete(**ASK, n=2)
    for ask in (quick.complete, quick.stream):
        backend.failing = {operation: kind(TEXT)}
        codes = await outcomes(ask, 6)
        assert codes <= {"internal_error"}
        assert operation not in backend.failing
        assert await is_healthy(quick)
        assert (await quick.complete(**ASK, n=2))["choices"] == alone["choices"]
    assert quick.service.engine.n_requests == 0


async def outcomes(ask: Any, number: int) -> set[str]:
    """Send requests that share and save their prompts; return the codes of those that failed."""
    codes: set[str] = set()
    for i in range(number):
        try:
            await ask(**ASK, n=2) if i % 2 else await ask(**{**ASK, "prompt": "ABCDEFGH" * (i + 1)})
        except CallError as error:
            codes.add(error.code)
    return codes


@pytest.mark.parametrize("kind", ENDS, ids=lambda kind: kind.__name__)
async def test_a_model_that_does_not_work_any_more_is_seen_by_all(
    quick: Door, backend: Fragile, kind: type[BaseException]
) -> None:
    backend.hold()
    stream = quick.chunks(**ASK)
    running = [asyncio.create_task(told(anext(stream)))]
    await backend.next_decode()
    running += [asyncio.create_task(told(quick.complete(**ASK, n=n))) for n in (1, 8)]
    while quick.service.engine.n_requests < 3:  # noqa: ASYNC110 - a request that waits gives no other sign
        await asyncio.sleep(0)
    assert await is_healthy(quick)
    backend.failing, backend.is_lasting = {"decode": kind(TEXT)}, True
    backend.open_gate()
    backend.let(8)
    for failure in await asyncio.gather(*running):
        assert failure.code == "internal_error"
        assert kind.__name__ in failure.message
        assert TEXT not in failure.message, "it may be about another request"
    for ask in (quick.complete, quick.stream):
        assert (await told(ask(**ASK))).code == "unavailable"
    assert not await is_healthy(quick)
    assert quick.service.engine.n_requests == 0
    await asyncio.to_thread(quick.service.close)
    assert backend.closed


@pytest.mark.parametrize("place", ["plan", "retire", "cancel"])
async def test_bookkeeping_that_fails_ends_the_engine(
    quick: Door, backend: Fragile, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """After a bug in the scheduler nothing of it can be trusted, not even to forget a request."""
    scheduler = quick.service.engine._steps.scheduler

    def fail(*_args: object, **_kwargs: object) -> None:
        raise KeyError(TEXT)

    backend.hold()
    asked = [asyncio.create_task(told(quick.complete(**ASK, n=n))) for n in (1, 8)]
    await backend.next_decode()
    leaver = asyncio.create_task(quick.complete(**ASK))
    while quick.service.engine.n_requests < 3:  # noqa: ASYNC110 - a request that waits gives no other sign
        await asyncio.sleep(0)
    for name in {"cancel", place}:
        monkeypatch.setattr(scheduler, name, fail)
    commands = quick.service.engine._commands
    before = commands.qsize()
    leaver.cancel()
    while commands.qsize() == before:  # noqa: ASYNC110 - that the door has noticed gives no other sign
        await asyncio.sleep(0)
    backend.open_gate()
    assert {failure.code for failure in await asyncio.gather(*asked)} == {"internal_error"}
    assert not await is_healthy(quick)
    assert quick.service.engine.n_requests == 0


async def test_a_model_that_cannot_be_closed_ends_all_the_same(
    quick: Door, backend: Fragile, caplog: pytest.LogCaptureFixture
) -> None:
    backend.failing = {"close": MemoryError(TEXT)}
    await asyncio.to_thread(quick.service.close)
    assert "could not be closed" in caplog.text
    assert (await told(quick.complete(**ASK))).code == "unavailable"
    assert not await is_healthy(quick)


async def test_a_loop_that_ends_while_deltas_come_hurts_nobody_else(backend: Fragile) -> None:
    """Its requests end, however many they are, and those of other loops do not notice."""
    service = service_of(engine_of(backend))
    backend.hold()

    async def ask_and_leave() -> None:
        for _ in range(3):
            await service._admit(service.parse({"model": "fake", **ASK, "n": 2}), None, in_parts=True)

    await asyncio.to_thread(asyncio.run, ask_and_leave())
    stays = asyncio.create_task(service.complete(service.parse({"model": "fake", **ASK})))
    await backend.next_decode()
    backend.open_gate()
    assert (await stays).choices[0].finish_reason == "length"
    while service.engine.n_requests:  # noqa: ASYNC110 - the engine gives no sign but this one
        await asyncio.sleep(0)
    assert service.is_alive
    await asyncio.to_thread(service.close)


async def test_an_engine_that_died_is_closed_like_any_other(backend: Fragile) -> None:
    engine: Engine = engine_of(backend)
    backend.failing, backend.is_lasting = {"decode": RuntimeError(), "close": RuntimeError()}, True
    service = service_of(engine)
    with pytest.raises(Exception, match="failed"):
        await service.complete(service.parse({"model": "fake", **ASK}))
    for _ in range(2):
        await asyncio.to_thread(service.close)
    assert not service.is_alive
