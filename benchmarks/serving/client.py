"""The client program: reads a job from standard input, and writes what it found to standard output."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from benchmarks.serving.job import Job, Outcome
from benchmarks.serving.load import Load
from benchmarks.serving.meter import Meter
from benchmarks.serving.process import HOST
from benchmarks.serving.question import MAX_TOKENS, Questions
from benchmarks.serving.summary import Summary

if TYPE_CHECKING:
    from benchmarks.serving.reply import Caller


def caller(job: Job) -> Caller:
    """Return a client of the job's door; call it on the event loop that is to use it."""
    if job.door == "grpc":
        from benchmarks.serving.grpc_caller import GrpcCaller

        return GrpcCaller(HOST, job.port)
    from benchmarks.serving.http_caller import HttpCaller

    return HttpCaller(HOST, job.port)


async def perform(job: Job) -> Outcome:
    """Do one job; what came in is read only after the meter was."""
    door = caller(job)
    load = Load(door, Questions(job.model, job.logprobs).next, job.seconds)
    meter = Meter(job.pid)
    if job.rate is not None:
        await load.opened(job.rate)
    else:
        await load.closed(job.clients or 1)
    spent = meter.read()
    await door.close()
    answers = [reply.read(door.piece, MAX_TOKENS) for reply in load.replies]
    return Outcome(Summary.of(answers, load.start), spent)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):  # the program that started this one tells it
        print(asyncio.run(perform(Job.parse(sys.stdin.read()))).json())
