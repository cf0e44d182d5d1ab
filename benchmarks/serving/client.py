"""The client program: reads jobs from standard input, and writes to standard output what each found.

A line is a job, or an outcome; the program ends with its input.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from benchmarks.serving.job import Job, Outcome
from benchmarks.serving.load import Load
from benchmarks.serving.meter import Meter
from benchmarks.serving.process import HOST
from benchmarks.serving.question import Questions
from benchmarks.serving.summary import Summary
from engine.service.event_loop import new_event_loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.serving.reply import Caller


def do_jobs(caller: Callable[[Job], Caller]) -> None:
    """Do one job after the other.

    Args:
        caller: Returns a client of a job's door; it is called on the event loop that is to use it.
    """
    with (
        asyncio.Runner(loop_factory=new_event_loop) as runner,
        suppress(KeyboardInterrupt),
    ):
        for text in sys.stdin:
            print(runner.run(_perform(Job.parse(text), caller)).json(), flush=True)
            gc.collect()  # no job pays for what another left behind


async def _perform(job: Job, caller: Callable[[Job], Caller]) -> Outcome:
    """Do one job; what came in is read only after the meter was."""
    door, work = caller(job), job.work
    load = Load(door, Questions(job.model, work.logprobs, work.max_tokens).next, work.seconds)
    meter = Meter(job.pid)
    if work.rate is not None:
        await load.opened(work.rate)
    else:
        await load.closed(work.clients or 1)
    spent = meter.read()
    await door.close()
    answers = [reply.read(door.piece) for reply in load.replies]
    return Outcome(Summary.of(answers, load.counts_from, load.cut_at), spent)


def _over_the_wire(job: Job) -> Caller:
    if job.door == "grpc":
        from benchmarks.serving.grpc_caller import GrpcCaller

        return GrpcCaller(HOST, job.port)
    from benchmarks.serving.http_caller import HttpCaller

    return HttpCaller(HOST, job.port)


if __name__ == "__main__":
    do_jobs(_over_the_wire)
