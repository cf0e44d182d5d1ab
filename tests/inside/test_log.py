"""A log that cannot be written holds up no request, and no end."""

from __future__ import annotations

import fcntl
import logging
import os
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import grpc
import httpx2
import pytest

from engine.pb.nucleus.v1 import completions_pb2 as pb
from engine.pb.nucleus.v1 import completions_pb2_grpc as pb_grpc
from engine.serving.background_log import BackgroundLog
from tests.process import PATIENCE, nucleus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.process import Serving


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        with suppress(OSError):
            os.close(end)


def fill(end: int) -> None:
    """Write to a pipe until the next byte would wait."""
    os.set_blocking(end, False)
    with suppress(BlockingIOError):
        while True:
            os.write(end, b"." * 512)
    os.set_blocking(end, True)


MODEL = "smollm2-135m-instruct"


def record(text: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("nucleus.test", logging.INFO, __file__, 1, text, args, None)


def lines_of(end: int, count: int) -> list[str]:
    with os.fdopen(os.dup(end), encoding="utf-8") as reader:
        return [reader.readline().strip() for _ in range(count)]


def test_lines_are_written_in_order() -> None:
    with pipe() as (reader, writer):
        log = BackgroundLog(writer)
        for number in range(100):
            log.handle(record("line %d \ud800", number))
        log.flush()
        assert lines_of(reader, 100) == [f"line {number} \\ud800" for number in range(100)]


def test_what_waits_is_bounded_and_what_is_dropped_is_counted() -> None:
    with pipe() as (reader, writer):
        fill(writer)
        log = BackgroundLog(writer, max_bytes=1000)
        for number in range(1000):
            log.handle(record("%9d", number))  # ten bytes each: a hundred of them wait
        drain(reader)
        log.flush()
        log.handle(record("after"))
        log.flush()
        written = lines_of(reader, 102)
        assert written[:100] == [str(number) for number in range(100)]
        assert written[100].startswith("900 lines of this log were dropped")
        assert written[101] == "after"


def drain(end: int) -> None:
    """Read the dots that a pipe was filled with."""
    size = fcntl.fcntl(end, 1032) if sys.platform == "linux" else 65536  # F_GETPIPE_SZ
    while size > 0:
        size -= len(os.read(end, min(size, 512)))


@pytest.mark.parametrize("gone", ["a full disk", "no reader"])
def test_what_cannot_be_written_is_dropped(gone: str) -> None:
    with pipe() as (reader, writer):
        if gone == "no reader":
            os.close(reader)
        descriptor = os.open("/dev/full", os.O_WRONLY) if gone == "a full disk" else writer
        log = BackgroundLog(descriptor)
        for _ in range(10):
            log.handle(record("nobody reads this"))
        log.flush()
        assert log._n_dropped == 10


def test_a_record_that_cannot_be_written_is_named() -> None:
    with pipe() as (reader, writer):
        log = BackgroundLog(writer)
        log.handle(record("%d", "no number"))
        log.flush()
        assert "test_log.py:1 cannot be written: TypeError" in lines_of(reader, 1)[0]


def test_many_threads_lose_nothing() -> None:
    with pipe() as (reader, writer):
        log = BackgroundLog(writer)
        threads = [
            threading.Thread(target=lambda: [log.handle(record("x")) for _ in range(100)]) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        log.flush()
        assert lines_of(reader, 800) == ["x"] * 800


def complete_over_both_doors(serving: Serving) -> None:
    body = {"model": MODEL, "prompt": "A", "max_tokens": 1}
    answer = httpx2.post(f"{serving.address('HTTP')}/v1/completions", json=body, timeout=PATIENCE)
    assert answer.status_code == 200
    request = pb.CompletionRequest(model=MODEL, prompt=pb.Prompt(text="A"), max_tokens=1)
    with grpc.insecure_channel(serving.address("gRPC")) as channel:
        stub = pb_grpc.CompletionServiceStub(channel)
        stub.CreateCompletion(pb.CreateCompletionRequest(request=request), timeout=PATIENCE)


@pytest.mark.parametrize("log", ["a full disk", "no reader", "a reader that reads nothing"])
def test_a_server_whose_log_cannot_be_written_serves_and_ends(log: str) -> None:
    with pipe() as (reader, writer):
        if log == "a reader that reads nothing":
            fill(writer)
        if log == "no reader":
            os.close(reader)
        stderr = os.open("/dev/full", os.O_WRONLY) if log == "a full disk" else writer
        with nucleus("--log-level", "debug", stderr=stderr) as serving:
            for _ in range(2):
                complete_over_both_doors(serving)
            serving.signal()
            serving.end()
