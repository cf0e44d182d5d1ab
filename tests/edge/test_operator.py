"""What an operator is told: versions, and how the server is."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from engine import __version__
from engine.serving.auth import ApiKeys
from engine.serving.origins import OriginPolicy
from tests.doors import HttpDoor
from tests.edge.servers import ASK, PATH, served

if TYPE_CHECKING:
    from engine.service.service import CompletionService
    from tests.edge.servers import Served

DETAIL = "/health?verbose"
OPEN = ("/health", "/health?verbose=0", "/health?verbose=False", "/health?other=verbose", "/ready?verbose")
GUARDED = (
    *(DETAIL, "/health?verbose=1", "/health?%76erbose", "/health?a=1&verbose="),
    "/health?verbose=0&verbose=1",
)


async def health(server: Served) -> dict[str, Any]:
    answer = await server.client.get(DETAIL)
    assert answer.status_code == 200
    report: dict[str, Any] = answer.json()
    return report


async def test_versions(service: CompletionService) -> None:
    async with HttpDoor(service) as door:
        told = (await door.routes.get("/version")).json()
    assert (told["version"], told["llama_cpp_python"]) == (__version__, version("llama-cpp-python"))
    assert told["features"][0] == "CPU"
    assert not [name for name in told["features"] if not name or set(name) & set(" |:")]
    info = service.engine.backend.info
    assert told["model"] == {"id": service.name, "description": info.description, "bytes": info.n_bytes}
    assert told["grpc"] is None, "this door stands alone"


async def test_an_idle_server_is_well() -> None:
    async with served() as server:
        report = await health(server)
        assert (report["status"], report["ready"], report["draining"]) == ("ok", True, False)
        assert (report["stalled_seconds"], report["requests_unfinished"]) == (0, 0)
        assert report["kv_cells_free"] == report["kv_cells"] == 256
        assert report["http_connections"] == 1
        assert report["memory_bytes"] is None or report["memory_bytes"] > 1 << 20
        server.service.drain()
        report = await health(server)
        assert (report["status"], report["ready"], report["draining"]) == ("ok", False, True)


async def test_a_step_that_does_not_end_is_told_and_one_that_ends_begins_anew() -> None:
    async with served() as server:
        server.backend.hold()
        asked = asyncio.create_task(server.client.post(PATH, json=ASK))
        await server.backend.next_decode()
        while (await health(server))["stalled_seconds"] < 0.1:
            pass
        report = await health(server)
        assert (report["requests_unfinished"], report["sequences_running"]) == (1, 1)
        assert report["http_connections"] == 2
        began = monotonic()
        server.backend.let(1)
        await server.backend.next_decode()
        assert server.service.stalled_seconds <= monotonic() - began
        server.backend.open_gate()
        assert (await asked).status_code == 200
        assert (await health(server))["stalled_seconds"] == 0


async def test_work_that_comes_to_an_idle_engine_has_not_stalled() -> None:
    async with served() as server:
        await server.client.post(PATH, json=ASK)
        began = monotonic()
        server.backend.hold()
        asked = asyncio.create_task(server.client.post(PATH, json=ASK))
        while not server.service.stalled_seconds:  # noqa: ASYNC110 - it is 0 until the request is queued
            await asyncio.sleep(0)
        assert server.service.stalled_seconds <= monotonic() - began
        server.backend.open_gate()
        await asked


async def test_a_dead_server_says_so_with_detail() -> None:
    async with served() as server:
        await asyncio.to_thread(server.service.close)
        answer = await server.client.get(DETAIL)
        assert (answer.status_code, answer.json()["status"], answer.json()["ready"]) == (503, "dead", False)
        answer = await server.client.get("/health")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_detail_needs_the_key_and_health_does_not(method: str) -> None:
    key = {"Authorization": "Bearer sk-1"}
    async with served(keys=ApiKeys(["sk-1"])) as server:
        for path in OPEN:
            answer = await server.client.request(method, path)
            assert answer.status_code == 200, path
            assert "kv_cells" not in answer.text
        for path in GUARDED:
            assert (await server.client.request(method, path)).status_code == 401, path
            assert (await server.client.request(method, path, headers=key)).status_code == 200, path


async def test_a_page_of_the_web_sees_no_detail() -> None:
    async with served(origins=OriginPolicy.of("127.0.0.1")) as server:
        statuses: list[int] = []
        for path in ("/health", DETAIL):
            answer = await server.client.get(path, headers={"Host": "evil.example"})
            statuses.append(answer.status_code)
        assert statuses == [200, 403]
