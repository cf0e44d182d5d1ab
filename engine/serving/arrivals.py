"""Requests that have come and are not begun yet: so that a crowd of them holds up nothing else."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_REFUSALS_A_TURN = 16


class Arrivals:
    """Begins one request in each turn of the event loop, and refuses at once what there is no room for.

    Between two turns the loop looks at its sockets. So a health check among three thousand requests waits for
    a few of them, and not for all.

    Args:
        has_room: Returns whether there will be room for one more request behind so many that are not begun.
    """

    def __init__(self, has_room: Callable[[int], bool]) -> None:
        self._has_room = has_room
        self._begin: deque[Callable[[], None]] = deque()
        self._refuse: deque[Callable[[], None]] = deque()
        self._is_turning = False

    def add(self, begin: Callable[[], None], refuse: Callable[[], None]) -> None:
        """Add a request, by what begins it and what refuses it; one of the two is called."""
        if self._has_room(len(self._begin)):
            self._begin.append(begin)
        else:
            self._refuse.append(refuse)
        if not self._is_turning:
            self._is_turning = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        if self._begin:
            self._begin.popleft()()
        for _ in range(min(len(self._refuse), _REFUSALS_A_TURN)):
            self._refuse.popleft()()
        self._is_turning = bool(self._begin or self._refuse)
        if self._is_turning:
            asyncio.get_running_loop().call_soon(self._turn)
