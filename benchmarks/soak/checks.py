"""What must hold at the end of a long run."""

from __future__ import annotations

import asyncio
import ctypes
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import llama_cpp as lib

from engine.backend.llama import LlamaBackend
from engine.errors import EngineError
from engine.kvcache.prefix_match import PrefixMatch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.soak.clients import Tally
    from benchmarks.soak.watch import Memory, Watch
    from engine.core.engine import Engine
    from engine.core.scheduler import Scheduler
    from engine.service.service import CompletionService

_SETTLE_SECONDS = 60.0  # in which the last requests end, once their clients have
_ENOUGH_REQUESTS = 300  # fewer may happen to bring about no preemption
_WHOLE_CACHE = -1  # in place of a sequence's number
_HEADER = struct.Struct("4I")  # of a saved state: a magic number, the sequence, the streams, the cells


class Check(NamedTuple):
    """What must hold, whether it does, and what was found."""

    what: str
    holds: bool
    found: str

    def text(self) -> str:
        """Write one line."""
        return f"{'ok    ' if self.holds else 'FAILED'} {self.what}: {self.found}"


def checks_of_clients(tallies: Mapping[str, Tally], watch: Watch) -> Iterator[Check]:
    """Return what the clients saw, and whether the run was hard enough to show anything."""
    n_requests = sum(tally.requests for tally in tallies.values())
    errors = sum(tally.errors for tally in tallies.values())
    first = next((f"; the first: {t.first_error}" for t in tallies.values() if t.first_error), "")
    told = f"{errors} errors in {n_requests} requests{first}"
    yield Check("every request ends as its client expects", n_requests > 0 and not errors, told)
    decisions = watch.decisions
    needed = decisions if n_requests >= _ENOUGH_REQUESTS else ("shared", "restored")
    told = ", ".join(f"{count} {what}" for what, count in decisions.items())
    yield Check("the cache is short, and shared", all(decisions[what] for what in needed), told)


def checks_of_server(memory: Memory | None, samples: Sequence[object], watch: Watch) -> Iterator[Check]:
    """Return what the server's log and memory say."""
    told = f"{watch.n_errors} errors" + (f"; the first: {watch.first_error}" if watch.n_errors else "")
    yield Check("nothing is logged as an error", not watch.n_errors, told)
    if memory is None:
        yield Check("memory stays flat", False, f"nobody can tell after {len(samples)} samples")
        return
    told = f"{memory.grown_mib:+.1f} MiB from first to last third, at most {memory.allowed_mib:.1f}"
    yield Check("memory stays flat", memory.grown_mib <= memory.allowed_mib, told)


async def checks_of_idle(service: CompletionService, scheduler: Scheduler) -> list[Check]:
    """Look at the KV cache where nobody can touch it any more; where somebody can, that is what is wrong."""
    if problem := await _problem_of_settling(service):
        return [Check("the engine comes to rest", False, problem)]
    backend = service.engine.backend
    assert isinstance(backend, LlamaBackend)
    rest = Check("the engine comes to rest", True, "no request is left, and a last one was answered")
    return [rest, *_checks_of_cache(scheduler, backend)]


def _checks_of_cache(scheduler: Scheduler, backend: LlamaBackend) -> Iterator[Check]:
    """Compare the scheduler's books with llama.cpp's own count.

    Calls to the backend belong to the engine thread. They are made from another one here, because the engine
    is idle: its thread waits for a command, and touches neither the books nor llama.cpp.
    """
    running, waiting = scheduler.n_running, scheduler.n_waiting
    yield Check("no sequence is left", not running and not waiting, f"{running} run, {waiting} wait")
    free, cells = scheduler.free_cells, scheduler.slots.n_cells
    yield Check("no cell is held by a sequence", free == cells, f"{free} of {cells} are free")
    tokens, used = sum(map(backend.used_cells, range(backend.n_slots))), _used_cells(backend)
    told = f"{tokens} tokens in {used} cells"
    yield Check("the cache is empty, by llama.cpp's own count", tokens == used == 0, told)
    taken: list[int] = []
    with suppress(IndexError):  # what is left of the books has no slot to give
        while len(taken) < backend.n_slots:
            taken.append(scheduler.slots.take(PrefixMatch()))
    n_taken = len(set(taken))
    holds = n_taken == backend.n_slots
    yield Check("every slot can be taken again", holds, f"{n_taken} of {backend.n_slots}")


def _used_cells(backend: LlamaBackend) -> int:
    """Return llama.cpp's count of cells in use, shared ones once; only a saved state tells it."""
    context = backend._context
    size = lib.llama_state_seq_get_size(context, _WHOLE_CACHE)
    state = (ctypes.c_uint8 * size)()
    lib.llama_state_seq_get_data(context, state, size, _WHOLE_CACHE)
    return int(_HEADER.unpack_from(state)[3])


async def _problem_of_settling(service: CompletionService) -> str | None:
    """Wait until all requests have ended and been cleaned up after; return what is in the way."""
    try:
        async with asyncio.timeout(_SETTLE_SECONDS):
            while service.engine.n_requests:
                await ask_once(service)  # in place of a clock: its answer takes a step of the engine
            await ask_once(service)
            for _ in range(2):  # a step lies between two commands as long as there is something left to do
                await _command(service.engine)
    except TimeoutError:
        return f"{service.engine.n_requests} requests are left after {_SETTLE_SECONDS:.0f} s"
    except EngineError as error:
        return f"the last request was not answered: {error}"
    return None


async def _command(engine: Engine) -> None:
    """Wait until the engine thread has carried out a command that does nothing."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    engine._commands.put(lambda: loop.call_soon_threadsafe(done.set))  # type: ignore[arg-type]
    await done.wait()


async def ask_once(service: CompletionService) -> None:
    """Have one token generated."""
    await service.complete(service.parse({"model": service.name, "prompt": "One more", "max_tokens": 1}))
