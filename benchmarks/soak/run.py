"""One run: a server, its clients, samples while they ask, and checks when they have left."""

from __future__ import annotations

import asyncio
from contextlib import closing
from time import perf_counter
from typing import TYPE_CHECKING

from benchmarks.soak import sample
from benchmarks.soak.cache import Cache
from benchmarks.soak.check import Check
from benchmarks.soak.complaints import Complaints
from benchmarks.soak.crowd import gather
from benchmarks.soak.doors import open_doors
from benchmarks.soak.findings import Findings
from benchmarks.soak.sample import Sample
from benchmarks.soak.watch import Watch
from engine.backend.llama import LlamaBackend
from engine.errors import EngineError
from engine.loading.launch import launch
from engine.loading.options import EngineOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.soak.crowd import Crowd
    from engine.core.engine import Engine
    from engine.service.service import CompletionService

CLIENTS = 16
PARALLEL = 8
CELLS = 1536
MODEL = "smollm2-135m-instruct"

_SAMPLE_SECONDS = 5.0
_LINE_SECONDS = 60.0
_SETTLE_SECONDS = 60.0  # in which the last requests end, once their clients have


class Run:
    """A run that can be made once.

    Args:
        seconds: How long the clients ask.
        seed: Decides what they ask, and when they leave.
        threads: Of llama.cpp; None for as many as it would have anyway.
        say: Prints a line for a person.
    """

    def __init__(self, seconds: float, *, seed: int, threads: int | None, say: Callable[[str], None]) -> None:
        self._seconds = seconds
        self._seed = seed
        self._options = EngineOptions(model=MODEL, parallel=PARALLEL, ctx_size=CELLS, threads=threads)
        self._say = say
        self._watch = Watch()
        self._samples: list[Sample] = []

    async def make(self) -> Findings:
        """Serve, let the clients ask, and look at what is left.

        Raises:
            EngineError: the model cannot be loaded, or does not answer the first request.
        """
        with Complaints().heard() as complaints, self._watch.watching():
            with closing((await asyncio.to_thread(launch, self._options)).service) as service:
                await _ask_once(service)
                async with open_doors(service) as address:
                    async with gather(address, service.name, CLIENTS, self._seed) as crowd:
                        await self._sample_while(crowd)
                        tallies = await crowd.finish()
                    checks = await self._checks_of_the_idle(service)
            checks.append(complaints.check())
        return Findings(tallies, self._samples, self._watch, checks)

    async def _sample_while(self, crowd: Crowd) -> None:
        """Take a sample every few seconds while the clients ask; print one a minute."""
        self._say(sample.HEADING)
        began = perf_counter()
        next_line = _LINE_SECONDS
        while (elapsed := perf_counter() - began) < self._seconds:
            self._samples.append(taken := Sample.take(elapsed, self._watch))
            if elapsed >= next_line:
                self._say(taken.text())
                next_line += _LINE_SECONDS
            if await crowd.has_ended_within(_SAMPLE_SECONDS):
                return

    async def _checks_of_the_idle(self, service: CompletionService) -> list[Check]:
        """Look at the cache where nobody can touch it any more; where somebody can, that is what is wrong."""
        if problem := await _problem_of_settling(service):
            return [Check("the engine comes to rest", False, problem)]
        backend = service.engine.backend
        assert isinstance(backend, LlamaBackend)
        rest = Check("the engine comes to rest", True, "no request is left, and a last one was answered")
        return [rest, *Cache(self._watch.scheduler, backend).checks()]


async def _problem_of_settling(service: CompletionService) -> str | None:
    """Wait until all requests have ended and been cleaned up after; return what is in the way."""
    try:
        async with asyncio.timeout(_SETTLE_SECONDS):
            while service.engine.n_requests:
                await _ask_once(service)  # in place of a clock: its answer takes a step of the engine
            await _ask_once(service)
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


async def _ask_once(service: CompletionService) -> None:
    await service.complete(service.parse({"model": service.name, "prompt": "One more", "max_tokens": 1}))
