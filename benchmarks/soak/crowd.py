"""All clients as one child process, seen from its parent."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from benchmarks.soak.tally import Tally

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator

    from benchmarks.soak.doors import Address

_LONGEST_END = 660.0  # seconds; more than any client waits for its last answer


class Crowd:
    """The running client program.

    Args:
        process: The child, with pipes to its standard input and from its standard output.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._ended = asyncio.ensure_future(process.wait())

    async def has_ended_within(self, seconds: float) -> bool:
        """Wait so long, or until the program has ended, which it should not by itself."""
        await asyncio.wait((self._ended,), timeout=seconds)
        return self._ended.done()

    async def finish(self) -> dict[str, Tally] | None:
        """Tell the clients to stop; return what became of their requests, or None if nobody can tell."""
        try:
            # An empty input, or its end would not be told to the program before Python 3.12.
            output, _ = await asyncio.wait_for(self._process.communicate(b""), _LONGEST_END)
            tallies = json.loads(output)
        except (TimeoutError, json.JSONDecodeError):
            return None
        return {door: Tally(**counts) for door, counts in tallies.items()}

    async def close(self) -> None:
        """End the program, if it still runs."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._ended


@asynccontextmanager
async def gather(address: Address, model: str, clients: int, seed: int) -> AsyncIterator[Crowd]:
    """Let so many clients ask for as long as the context lasts, or until they are told to finish."""
    options = {**address._asdict(), "model": model, "clients": clients, "seed": seed}
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    crowd = Crowd(
        await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "benchmarks.soak.clients", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
    )
    try:
        yield crowd
    finally:
        await crowd.close()
