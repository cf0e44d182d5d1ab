"""What must hold at the end of a long run."""

from __future__ import annotations

import asyncio
import ctypes
import struct
from contextlib import suppress
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

import llama_cpp as lib

from benchmarks.soak.clients import OUTCOMES
from engine.backend.llama import LlamaBackend
from engine.errors import EngineError
from engine.kvcache.prefix_match import PrefixMatch

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Sequence
    from logging import LogRecord

    from benchmarks.soak.clients import Tallies
    from engine.backend.base import Backend
    from engine.core.engine import Engine
    from engine.core.scheduler import Scheduler
    from engine.service.service import CompletionService

_ENOUGH_REQUESTS = 300  # fewer may happen to bring about no preemption
_MOST_MIB, _MOST_SHARE = 8.0, 0.02  # by how much memory may grow
_SETTLE_SECONDS = 60.0  # in which the last requests end, once their clients have
_WHOLE_CACHE = -1  # in place of a sequence's number
_HEADER = struct.Struct("4I")  # of a saved state: a magic number, the sequence, the streams, the cells


class Check(NamedTuple):
    """What must hold, whether it does, and what was found."""

    what: str
    holds: bool
    found: str


def checks_of_clients(tallies: Tallies, first_error: str, decisions: Counter[str]) -> Iterator[Check]:
    """Yield what the clients saw, and whether the run was hard enough to find anything."""
    n_requests = sum(tally[outcome] for tally in tallies.values() for outcome in OUTCOMES)
    errors = sum(tally["errors"] for tally in tallies.values())
    found = f"{errors} errors in {n_requests} requests{'; the first: ' * bool(errors)}{first_error}"
    yield Check("every request ends as its client expects", n_requests > 0 and not errors, found)
    needed = decisions if n_requests >= _ENOUGH_REQUESTS else ("shared", "restored")
    found = ", ".join(f"{count} {what}" for what, count in decisions.items())
    yield Check("the cache is short, and shared", all(decisions[what] for what in needed), found)


def checks_of_server(errors: Sequence[LogRecord], sizes: Sequence[float]) -> Iterator[Check]:
    """Yield what the server logged, of which nothing may be an error, and how its memory grew, in MiB."""
    found = f"{len(errors)} errors{'; the first: ' * bool(errors)}{errors[0].getMessage() if errors else ''}"
    yield Check("nothing is logged as an error", not errors, found)
    third = max(1, len(sizes) // 3)
    first, middle, last = (fmean(sizes[start : start + third]) for start in (0, third, len(sizes) - third))
    allowed = max(_MOST_MIB, _MOST_SHARE * middle)
    found = (
        f"{last - middle:+.1f} MiB from middle to last third, at most {allowed:.1f}; "
        f"{middle - first:+.1f} before, while caches fill"
    )
    yield Check("memory stays flat", len(sizes) >= 3 and last - middle <= allowed, found)


async def checks_of_idle(service: CompletionService, scheduler: Scheduler) -> list[Check]:
    """Look at the KV cache where nobody can touch it any more; where somebody can, that is what is wrong."""
    problem = ""
    try:
        async with asyncio.timeout(_SETTLE_SECONDS):
            await _come_to_rest(service, scheduler)
    except TimeoutError:
        problem = f"{service.engine.n_requests} requests are left after {_SETTLE_SECONDS:.0f} s"
    except EngineError as error:
        problem = f"the last request was not answered: {error}"
    found = problem or "no request is left, and a last one was answered"
    rest = Check("the engine comes to rest", not problem, found)
    return [rest] if problem else [rest, *_checks_of_cache(scheduler, service.engine.backend)]


async def _come_to_rest(service: CompletionService, scheduler: Scheduler) -> None:
    """Wait until all requests have ended and been cleaned up after."""
    one_more = service.parse({"model": service.name, "prompt": "One more", "max_tokens": 1})
    while service.engine.n_requests:
        await service.complete(one_more)  # in place of a clock: its answer takes a step of the engine
    await service.complete(one_more)
    while scheduler.has_work:
        await _command(service.engine)
    await _command(service.engine)  # the step that did the last of the work has ended now


async def _command(engine: Engine) -> None:
    """Wait until the engine thread has carried out a command that does nothing."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    engine._commands.put(lambda: loop.call_soon_threadsafe(done.set))  # type: ignore[arg-type]
    await done.wait()


def _checks_of_cache(scheduler: Scheduler, backend: Backend) -> Iterator[Check]:
    """Compare the scheduler's books with llama.cpp's own count.

    Calls to the backend belong to the engine thread. They are made from another one here, because the engine
    is idle: its thread waits for a command, and touches neither the books nor llama.cpp.
    """
    assert isinstance(backend, LlamaBackend)
    running, waiting = scheduler.n_running, scheduler.n_waiting
    yield Check("no sequence is left", not running and not waiting, f"{running} run, {waiting} wait")
    free, cells = scheduler.free_cells, scheduler.slots.n_cells
    yield Check("no cell is held by a sequence", free == cells, f"{free} of {cells} are free")
    tokens, used = sum(map(backend.used_cells, range(backend.n_slots))), _used_cells(backend)
    found = f"{tokens} tokens in {used} cells"
    yield Check("the cache is empty, by llama.cpp's own count", tokens == used == 0, found)
    taken: set[int] = set()
    with suppress(IndexError):  # what is left of the books has no slot to give
        for _ in range(backend.n_slots):
            taken.add(scheduler.slots.take(PrefixMatch()))
    found = f"{len(taken)} of {backend.n_slots}"
    yield Check("every slot can be taken again", len(taken) == backend.n_slots, found)


def _used_cells(backend: LlamaBackend) -> int:
    """Return llama.cpp's count of cells in use, shared ones once; only a saved state has it."""
    context = backend._context
    size = lib.llama_state_seq_get_size(context, _WHOLE_CACHE)
    state = (ctypes.c_uint8 * size)()
    lib.llama_state_seq_get_data(context, state, size, _WHOLE_CACHE)
    return int(_HEADER.unpack_from(state)[3])
