"""What a service manager is told: the protocol itself, and what the real server says in it."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import httpx2
import pytest

from engine.serving.systemd import keep_watchdog, notify, notify_stopping
from tests.process import PATIENCE, nucleus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BEAT = {"WATCHDOG": "1"}
IS_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has addresses without a file")


class Manager:
    """The receiving end: a datagram socket at a path, or at a name behind ``@``."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1))
        self._socket.settimeout(PATIENCE)

    def hear(self) -> dict[str, str]:
        """Wait for the next message."""
        lines = self._socket.recv(4096).decode().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def hear_but(self, beat: dict[str, str]) -> dict[str, str]:
        """Wait for the next message that is another one."""
        while (heard := self.hear()) == beat:
            pass
        return heard

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", pytest.param("abstract", marks=IS_LINUX)])
def told(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Manager]:
    """The manager of this process."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@nucleus-test-{os.getpid()}"
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with closing(Manager(address)) as manager:
        yield manager


def test_each_message_is_one_datagram_of_lines(told: Manager) -> None:
    notify("READY=1", "STATUS=Serving a=b")
    notify_stopping(0.5)
    assert told.hear() == {"READY": "1", "STATUS": "Serving a=b"}
    assert told.hear() == {"STOPPING": "1", "EXTEND_TIMEOUT_USEC": "30500000"}


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative"])
def test_without_an_address_that_it_knows_nothing_is_told(
    address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")
    assert not caplog.messages


def test_a_manager_that_is_gone_is_a_warning_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify("READY=1")
    assert "cannot be told READY=1" in caplog.text


async def test_the_watchdog_hears_a_beat_for_as_long_as_all_is_well(
    told: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([True, True, False])
    monkeypatch.setenv("WATCHDOG_USEC", "3")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    await keep_watchdog(lambda: next(answers))
    notify("STATUS=after")
    assert [told.hear() for _ in range(3)] == [BEAT, BEAT, {"STATUS": "after"}]


@pytest.mark.parametrize("period", ["", "3"])
async def test_a_watchdog_for_nobody_or_another_process_hears_nothing(
    told: Manager, monkeypatch: pytest.MonkeyPatch, period: str
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", period)
    monkeypatch.setenv("WATCHDOG_PID", "1" if period else str(os.getpid()))
    await keep_watchdog(lambda: True)
    notify("STATUS=after")
    assert told.hear() == {"STATUS": "after"}


def test_the_server_is_ready_when_it_answers_and_says_that_it_ends(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with closing(Manager(address)) as manager:
        asked = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "300000"}
        with nucleus("--shutdown-grace", "7", environment=asked) as server:
            assert manager.hear() == {"STATUS": "Loading smollm2-135m-instruct"}
            ready, url = manager.hear(), server.address("HTTP")
            assert ready["READY"] == "1"
            assert url.removeprefix("http://") in ready["STATUS"]
            assert httpx2.get(f"{url}/ready").status_code == 200
            assert manager.hear() == BEAT
            server.signal()
            assert manager.hear_but(BEAT) == {"STOPPING": "1", "EXTEND_TIMEOUT_USEC": "37000000"}
            server.end()
