"""``/metrics``: what all doors have done together."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from engine.contract.limits import Limits
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
    return {
        sample.name + "".join(sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


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


async def test_the_page_tells_what_steps_cost_and_how_many_there_were(service: CompletionService) -> None:
    async with HttpDoor(service) as door:
        before = await read(door)
        await door.complete(prompt="Steps are counted here", max_tokens=12, ignore_eos=True)
        after = await read(door)
        await door.complete(prompt="A long text. " * 30, max_tokens=4, ignore_eos=True)
        behind_a_text = await read(door)
    gained = {
        name: after[f"nucleus_{name}_total"] - before[f"nucleus_{name}_total"]
        for name in ("steps", "graphs_reused")
    }
    assert gained["steps"] == 12
    assert 9 <= gained["graphs_reused"] <= 12, (
        "a decode is like the one before, and a prompt of one token, too"
    )
    assert after["nucleus_padding_tokens_total"] >= 0
    assert 0 < after["nucleus_step_seconds1"] < after["nucleus_step_seconds4"]
    assert behind_a_text["nucleus_attention_seconds128"] >= 0
    assert after["nucleus_prefix_bytes"] == 0, "nothing is written to disk"
