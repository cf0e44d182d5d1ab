"""The page at ``/metrics``, and `docs/metrics.md`, which says what stands on it."""

from __future__ import annotations

import asyncio
import re
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.client import CallError
from engine import errors
from engine.errors import EngineError
from engine.service.request_stats import OUTCOMES
from tests.doors import DOORS, HttpDoor
from tests.pages import families_of
from tests.quick import AnyText, engine_of, service_of

if TYPE_CHECKING:
    from engine.service.service import CompletionService

PAGE = (Path(__file__).parent.parent / "docs" / "metrics.md").read_text(encoding="utf-8")
NEVER = ("never by a request", "The route exists", "No route answers", "took too long to send", "connections")
"""How errors are described that end no request for an answer."""


async def test_no_label_has_a_value_that_a_client_chooses() -> None:
    service = service_of(engine_of(AnyText()))
    async with HttpDoor(service) as door:
        await door.complete(prompt="ABC", max_tokens=2, user="somebody")
        with pytest.raises(CallError):
            await door.complete(prompt="ABC", max_tokens=2, user="somebody", model="somebody")
    await asyncio.to_thread(service.close)
    values: dict[str, set[str]] = {}
    for family in families_of(service):
        for sample in family.samples:
            for name, value in sample.labels.items():
                values.setdefault(name, set()).add(value)
    assert not any("somebody" in told for told in values.values())
    assert values["outcome"] == {*OUTCOMES}
    assert values["door"] == {kind.name for kind in DOORS}
    assert values["error_type"] == {"", "model_not_found"}
    assert values["gen_ai_request_model"] == {"fake"}


def test_every_error_that_can_end_a_request_is_an_outcome_from_the_start() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, EngineError) and kind is not EngineError
    ]
    ending = {kind.code for kind in kinds if not any(words in str(kind.__doc__) for words in NEVER)}
    assert ending == {*OUTCOMES} - {"stop", "length", "cancelled"}


async def test_the_page_is_served_as_prometheus_expects_it(service: CompletionService) -> None:
    async with HttpDoor(service) as door:
        answer = await door.routes.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "# TYPE gen_ai_server_time_to_first_token_seconds histogram\n" in answer.text


@pytest.mark.skipif(sys.platform != "linux", reason="the numbers of the process are those of /proc")
def test_the_documentation_has_every_name_with_its_type_and_labels() -> None:
    with closing(service_of(engine_of(AnyText()))) as service:
        families = families_of(service)
    rows = re.findall(r"^\| `([a-z_0-9]+)` \| (\w+) \|([^|]*)\|[^|]+\|$", PAGE, re.MULTILINE)
    documented = {name: (kind, {*re.findall(r"`(\w+)`", labels)}) for name, kind, labels in rows}
    assert len(documented) == len(rows)
    told = {
        family.name + ("_total" if family.type == "counter" else ""): (
            family.type,
            {label for sample in family.samples for label in sample.labels} - {"le"},
        )
        for family in families
    }
    costs = {"nucleus_step_cost_seconds": "decodes", "nucleus_attention_cost_seconds": "tokens"}
    assert documented == told | {name: ("gauge", {label}) for name, label in costs.items()}
    assert costs.keys() <= told.keys(), "which have no values where nothing was measured"
