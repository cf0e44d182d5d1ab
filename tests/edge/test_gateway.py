"""The routes that a gateway asks: what is served, how much at once, and how busy the server is."""

from __future__ import annotations

import asyncio
import logging
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import __version__
from engine.serving.auth import ApiKeys
from engine.serving.gateway import LOAD_PATHS, load_of
from tests.edge.servers import ASK, PATH, served
from tests.quick import AnyText, engine_of, service_of

if TYPE_CHECKING:
    from engine.contract.gateway import RankLoad
    from engine.service.snapshot import ServiceSnapshot
    from tests.edge.servers import Served

INFO_PATHS = ("/server_info", "/get_server_info", "/model_info", "/get_model_info")


async def rank(server: Served, path: str = "/loads?model=fake") -> dict[str, Any]:
    answer = await server.client.get(path)
    assert answer.status_code == 200
    report = answer.json()
    (told,) = report["loads"]
    assert (report["dp_rank_count"], report["version"]) == (1, f"nucleus-{__version__}")
    assert isinstance(told, dict)
    return told


async def test_an_idle_server_has_room_for_everything() -> None:
    async with served() as server:
        told = [await rank(server, path) for path in (*LOAD_PATHS, "/v1/loads?include=core,memory")]
        slots = server.backend.n_slots
        assert told == 3 * [
            {
                "dp_rank": 0,
                "num_running_reqs": 0,
                "num_waiting_reqs": 0,
                "num_total_reqs": 0,
                "max_running_requests": slots,
                "num_used_tokens": 0,
                "max_total_num_tokens": 256,
                "token_usage": 0.0,
                "utilization": 0.0,
                "gen_throughput": 0.0,
                "cache_hit_rate": 0.0,
            }
        ]


async def test_a_busy_server_tells_what_runs_and_what_waits() -> None:
    async with served() as server:
        server.backend.hold()
        slots = server.backend.n_slots
        asked = [asyncio.create_task(server.client.post(PATH, json=ASK)) for _ in range(slots + 3)]
        await server.backend.next_decode()
        while (await server.client.get("/health?verbose")).json()["requests_unfinished"] < slots + 3:
            pass
        server.backend.let(1)
        await server.backend.next_decode()
        told, now = await rank(server), server.service.snapshot()
        assert (told["num_running_reqs"], told["num_waiting_reqs"]) == (slots, 3)
        assert (told["num_total_reqs"], told["utilization"]) == (slots + 3, 1.0)
        assert told["num_used_tokens"] == now.kv_cells_used > 0
        assert told["token_usage"] == pytest.approx(now.kv_cells_used / now.kv_cells, abs=1e-6)
        server.backend.open_gate()
        assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}


async def test_what_is_served_is_told_under_both_names() -> None:
    async with served() as server:
        told = [(await server.client.get(path)).json() for path in INFO_PATHS]
    assert told[0] == told[1]
    assert told[2] == told[3]
    assert told[0] == {
        "model_id": "fake",
        "served_model_name": "fake",
        "version": __version__,
        "context_length": 256,
        "max_total_tokens": 256,
        "max_running_requests": server.backend.n_slots,
        "is_embedding": False,
        "tp_size": 1,
        "dp_size": 1,
        "pp_size": 1,
    }
    assert (told[2]["served_model_name"], told[2]["is_generation"]) == ("fake", True)


@pytest.mark.parametrize("path", [*LOAD_PATHS, *INFO_PATHS])
async def test_a_dead_server_is_not_taken_for_an_idle_one(path: str) -> None:
    async with served() as server:
        await asyncio.to_thread(server.service.close)
        answer = await server.client.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")


@pytest.mark.parametrize("path", [*LOAD_PATHS, *INFO_PATHS])
async def test_who_has_no_key_is_told_nothing(path: str) -> None:
    async with served(keys=ApiKeys(["sk-1"])) as server:
        refused = await server.client.get(path)
        told = await server.client.get(path, headers={"Authorization": "Bearer sk-1"})
    assert (refused.status_code, told.status_code) == (401, 200)


async def test_what_is_asked_every_second_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "nucleus.access")
    async with served() as server:
        for path in (*LOAD_PATHS, "/server_info"):
            await server.client.get(path)
    (line,) = (record for record in caplog.records if record.name == "nucleus.access")
    assert "/server_info" in line.getMessage()


@pytest.fixture(scope="module")
def idle() -> ServiceSnapshot:
    with closing(service_of(engine_of(AnyText()))) as service:
        return service.snapshot()


def load_with(now: ServiceSnapshot, **numbers: Any) -> RankLoad:
    (told,) = load_of(replace(now, **numbers)).loads
    return told


def test_the_rate_is_what_the_width_of_now_is_expected_to_give(idle: ServiceSnapshot) -> None:
    costs = {1: 0.02, 2: 0.025, 4: 0.05}
    rates = [
        load_with(idle, sequences_running=running, step_costs=costs).gen_throughput for running in range(6)
    ]
    assert rates == [0.0, 50.0, 80.0, 60.0, 80.0, 80.0]
    assert load_with(idle, sequences_running=3, step_costs={}).gen_throughput == 0.0


@given(
    slots=st.integers(1, 256),
    running=st.integers(0, 300),
    cells=st.integers(0, 1 << 20),
    used=st.integers(0, 1 << 21),
    prompt=st.integers(0, 1 << 40),
    cached=st.integers(0, 1 << 41),
    widths=st.dictionaries(st.integers(1, 256), st.floats(1e-4, 10.0), max_size=6),
)
def test_parts_are_parts_whatever_the_numbers_are(
    idle: ServiceSnapshot,
    slots: int,
    running: int,
    cells: int,
    used: int,
    prompt: int,
    cached: int,
    widths: dict[int, float],
) -> None:
    """The numbers are read one after the other while a step changes them, so they need not fit each other."""
    told = load_with(
        idle,
        slots=slots,
        sequences_running=running,
        kv_cells=cells,
        kv_cells_used=used,
        prompt_tokens=prompt,
        cached_tokens=cached,
        step_costs=widths,
    )
    assert min(told.token_usage, told.utilization, told.cache_hit_rate) >= 0
    assert max(told.token_usage, told.utilization, told.cache_hit_rate) <= 1
    assert 0 <= told.gen_throughput < float("inf")
