"""``/metrics``: what all doors have done together."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from engine.contract.requests import Limits
from engine.core.engine import Engine
from engine.service.service import CompletionService
from tests.core.fake_backend import FakeBackend
from tests.doors import DOORS, HttpDoor

if TYPE_CHECKING:
    from tests.doors import Answer


async def read(door: HttpDoor) -> dict[str, float]:
    answer = await door.routes.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = text_string_to_metric_families(answer.text)
    return {sample.name: sample.value for family in families for sample in family.samples}


async def test_the_page_counts_what_came_through_every_door() -> None:
    engine = Engine(FakeBackend(), max_logprobs=5, max_requests=8)
    with closing(CompletionService(engine, name="fake", limits=Limits(), max_model_len=200)) as service:
        for kind in DOORS:
            async with kind(service) as door:
                await door.complete(prompt="ABC", n=2, max_tokens=3)
                await door.stream(prompt="ABC", max_tokens=2)
        async with HttpDoor(service) as door:
            found = await read(door)
    counts: Answer = {"requests": 6, "prompt_tokens": 24, "completion_tokens": 3 * (2 * 3 + 2)}
    assert {name: found[f"nucleus_{name}_total"] for name in counts} == counts
    assert found["nucleus_up"] == 1
    assert (found["nucleus_sequences_running"], found["nucleus_requests_unfinished"]) == (0, 0)
    assert found["nucleus_kv_cells"] == found["nucleus_kv_cells_free"] == 256
