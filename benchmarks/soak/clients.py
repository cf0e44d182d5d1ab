"""The client program: asks until its standard input closes, and then prints what became of it, as one line.

A process of its own, so that the memory which is watched is the server's alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from contextlib import suppress
from dataclasses import asdict
from random import Random
from typing import TYPE_CHECKING

from benchmarks.soak.client import Client
from benchmarks.soak.grpc_door import GrpcDoor
from benchmarks.soak.http_door import HttpDoor
from benchmarks.soak.request import Requests
from benchmarks.soak.tally import Tally

if TYPE_CHECKING:
    from benchmarks.soak.part import Door


def main() -> None:
    """Ask as the command line says."""
    with suppress(KeyboardInterrupt):  # who started this program tells of it
        tallies = asyncio.run(_ask(_arguments()))
        print(json.dumps({door: asdict(tally) for door, tally in tallies.items()}))


async def _ask(asked: argparse.Namespace) -> dict[str, Tally]:
    tallies = {"http": Tally(), "grpc": Tally()}
    told_to_stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for number in range(asked.clients):
            name, door = _door(number, asked)
            requests = Requests(asked.model, Random(f"{asked.seed} {number}"))  # noqa: S311 - not for secrets
            group.create_task(Client(door, requests, tallies[name]).ask_until(told_to_stop))
        await asyncio.to_thread(sys.stdin.read)
        told_to_stop.set()
    return tallies


def _door(number: int, asked: argparse.Namespace) -> tuple[str, Door]:
    """Send every other client to the other door."""
    if number % 2:
        return "grpc", GrpcDoor(asked.host, asked.grpc_port)
    return "http", HttpDoor(asked.host, asked.http_port)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument("--grpc-port", type=int, required=True)
    parser.add_argument("--model", required=True, help="the name that the server answers to")
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
