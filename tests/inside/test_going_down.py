"""What a signal does to the real server under load over both doors, and to those who hold on to it."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import grpc
import httpx2
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.client import CallError, GrpcClient, HttpClient
from tests.process import nucleus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.process import Serving

MODEL = "smollm2-135m-instruct"
SHORT = {"model": MODEL, "prompt": "A", "max_tokens": 24, "ignore_eos": True, "stream": True}
LONG = {**SHORT, "max_tokens": 1900}
SERVED, NOT_SERVED = (
    health_pb2.HealthCheckResponse.SERVING,
    health_pb2.HealthCheckResponse.NOT_SERVING,
)


@asynccontextmanager
async def clients(serving: Serving) -> AsyncIterator[tuple[HttpClient, GrpcClient]]:
    host, _, port = serving.address("HTTP").removeprefix("http://").rpartition(":")
    over_grpc = GrpcClient(*serving.address("gRPC").split(":"))  # type: ignore[arg-type]
    yield HttpClient(host, int(port)), over_grpc
    await over_grpc.close()


class Asked:
    """A stream or a whole answer that is under way."""

    def __init__(self, client: HttpClient | GrpcClient, fields: dict[str, Any]) -> None:
        self._client, self._fields = client, fields
        self.has_begun = asyncio.Event()
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> str:
        """Return how it ended: the finish reason, or the code of the error."""
        reason = "cut"
        try:
            async for event in self._client.events(self._fields):
                choices = self._client.read(event)["choices"]
                reason = choices[0]["finish_reason"] if choices else reason
                self.has_begun.set()
        except CallError as error:
            return error.code or str(error)
        return reason


async def is_ready(http: httpx2.AsyncClient) -> bool:
    return (await http.get("/ready")).status_code == 200


async def test_readiness_then_refusal_then_the_end() -> None:
    with nucleus("--parallel", 16, "--shutdown-grace", 3600) as serving:
        async with (
            clients(serving) as doors,
            httpx2.AsyncClient(base_url=serving.address("HTTP"), timeout=60) as http,
            grpc.aio.insecure_channel(serving.address("gRPC")) as channel,
        ):
            health: Any = health_pb2_grpc.HealthStub(cast("Any", channel))
            watch = health.Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == SERVED
            running = [Asked(door, SHORT) for door in doors for _ in range(7)]
            staying = Asked(doors[0], LONG)
            for asked in [*running, staying]:
                await asked.has_begun.wait()
            serving.signal()
            while await is_ready(http):
                pass
            assert (await watch.read()).status == NOT_SERVED
            with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):  # a new connection is not taken
                await health.Check(health_pb2.HealthCheckRequest())
            assert (await http.get("/health")).status_code == 200
            for door in doors:
                for fields in (SHORT, {**SHORT, "stream": False}):
                    assert await Asked(door, fields).task == "unavailable"
            assert [await asked.task for asked in running] == ["length"] * 14
            staying.task.cancel()  # the client leaves, so nothing runs any more
            await asyncio.wait([staying.task])
        await asyncio.to_thread(serving.end)


@pytest.mark.parametrize("signals", [1, 2])
async def test_what_needs_longer_is_told_why(signals: int) -> None:
    """With a second signal no grace is waited for."""
    grace = 0.2 if signals == 1 else 3600
    with nucleus("--parallel", 4, "--shutdown-grace", grace) as serving:
        async with clients(serving) as doors:
            streams = [Asked(door, LONG) for door in doors]
            for asked in streams:
                await asked.has_begun.wait()
            whole = [Asked(door, {**LONG, "stream": False}) for door in doors]
            async with httpx2.AsyncClient(base_url=serving.address("HTTP"), timeout=60) as http:
                while "requests_unfinished 4.0" not in (await http.get("/metrics")).text:
                    pass
                serving.signal()
                if signals == 2:
                    while await is_ready(http):
                        pass
                    serving.signal()
            assert [await asked.task for asked in [*streams, *whole]] == ["unavailable"] * 4
        await asyncio.to_thread(serving.end)


def small_socket(stack: ExitStack, host: str, port: str) -> socket.socket:
    """Return a connection that takes little without being read."""
    sock = stack.enter_context(socket.socket())
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect((host, int(port)))
    return sock


async def test_whoever_holds_on_does_not_hold_up_the_end() -> None:
    """Idle and half-open connections, watches, and clients that do not read."""
    with ExitStack() as stack, nucleus("--parallel", 4, "--shutdown-grace", 1) as serving:
        host, _, port = serving.address("HTTP").removeprefix("http://").rpartition(":")
        body = json.dumps({**LONG, "n": 2, "logprobs": 5, "max_tokens": 400}).encode()
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        request = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
        places = [(host, port)] * 4 + [tuple(serving.address("gRPC").split(":"))]
        sockets = [small_socket(stack, *place) for place in places]
        for sock, sent in zip(sockets, (b"", head, request[:-5], request), strict=False):
            sock.sendall(sent)
        async with grpc.aio.insecure_channel(serving.address("gRPC")) as channel:
            health: Any = health_pb2_grpc.HealthStub(cast("Any", channel))
            watch = health.Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == SERVED
            over_grpc = GrpcClient(*serving.address("gRPC").split(":"))  # type: ignore[arg-type]
            unread = over_grpc.events({**LONG, "n": 2, "logprobs": 5, "max_tokens": 400})
            await anext(unread)
            serving.signal()
            await asyncio.to_thread(serving.end)
            assert b"HTTP/1.1 503 " in sockets[2].recv(1000), "it had sent half of its body"
            await unread.aclose()
            await over_grpc.close()


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """No child and no socket."""
    paths = [tmp_path / "http.sock", tmp_path / "grpc.sock"]
    flags = ("--http-port", f"unix:{paths[0]}", "--grpc-port", f"unix:{paths[1]}")
    with nucleus(*flags) as serving:
        assert all(path.exists() for path in paths)
        tasks = Path(f"/proc/{serving.process.pid}/task")
        assert not any(children.read_text() for children in tasks.glob("*/children"))
        serving.signal()
        serving.end()
        assert not any(path.exists() for path in paths)
