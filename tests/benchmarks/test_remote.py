"""Objects in processes of their own, and what becomes of a call when its process or its server is gone."""

from __future__ import annotations

import multiprocessing
import os
import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from benchmarks.remote import Remote, RemoteError
from benchmarks.servers import HOST, Ports, Running
from benchmarks.serving.turn import Clients, Work

if TYPE_CHECKING:
    from benchmarks.servers import Door


class Counter:
    def __init__(self, start: int) -> None:
        self._count = 10 // start

    def add(self, number: int) -> int:
        self._count += number
        return self._count

    def end(self) -> None:
        os._exit(1)


def test_the_object_keeps_its_state_from_call_to_call() -> None:
    with closing(Remote(Counter, 1)) as counter:
        assert [counter.call("add", 1), counter.call("add", 2)] == [11, 13]
        assert counter.pid != os.getpid()


def test_an_error_is_raised_here_and_the_object_goes_on() -> None:
    with closing(Remote(Counter, 1)) as counter:
        with pytest.raises(RemoteError, match="TypeError"):
            counter.call("add", "one")
        assert counter.call("add", 1) == 11


def test_an_object_that_cannot_be_made_is_an_error() -> None:
    with pytest.raises(RemoteError, match="ZeroDivisionError"):
        Remote(Counter, 0)
    assert not multiprocessing.active_children()  # also the process has ended


def test_a_process_that_ends_is_an_error() -> None:
    with closing(Remote(Counter, 1)) as counter:
        for _ in range(2):
            with pytest.raises(RemoteError, match="has ended"):
                counter.call("end")


@pytest.mark.parametrize("door", ["http", "grpc"])
def test_a_server_that_is_gone_is_a_turn_with_errors(door: Door) -> None:
    with socket.create_server((HOST, 0)) as listening:
        port = listening.getsockname()[1]
    with closing(Remote(Clients, door, Running(Ports(port, port), os.getpid(), "model"))) as clients:
        turns = [clients.call("perform", Work(0.5, clients=2)) for _ in range(2)]  # one program does both
    assert all(turn.errors and not turn.tokens_per_s for turn in turns)
