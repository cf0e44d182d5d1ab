"""What a service manager that started this process wants to know of it: systemd's ``sd_notify`` protocol.

Each message is one datagram of ``NAME=value`` lines, sent to the Unix socket that ``NOTIFY_SOCKET`` names.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("nucleus.systemd")

_SEND_SECONDS = 1.0
_MICROSECONDS = 1_000_000
_BEATS = 3  # within the time after which the manager takes this process for dead
_END_SECONDS = 30.0  # beyond the grace: for the step under way and for the memory to be given back


def notify(*lines: str) -> None:
    """Tell the service manager something, such as ``READY=1``; without one, do nothing."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):  # a name without a file, which the system writes with a zero
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(_SEND_SECONDS)
            sender.sendto("\n".join(lines).encode(), address)
    except OSError as error:
        log.warning("the service manager cannot be told %s: %s", lines[0], error)


def notify_stopping(grace: float) -> None:
    """Tell it that the end has begun, and how long to wait for it: its own limit may be shorter.

    Args:
        grace: Seconds that running requests have.
    """
    notify("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int((grace + _END_SECONDS) * _MICROSECONDS)}")


async def keep_watchdog(is_alive: Callable[[], bool]) -> None:
    """Tell it for as long as ``is_alive`` that this process works, if it asks this process for that."""
    period, whose = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not period.isdecimal() or whose not in ("", str(os.getpid())):
        return
    while is_alive():
        notify("WATCHDOG=1")
        await asyncio.sleep(int(period) / _MICROSECONDS / _BEATS)
