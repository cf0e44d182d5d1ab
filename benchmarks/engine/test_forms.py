"""Tokens per second of free text, and of answers that a JSON schema of thirty fields gives their form.

With the form, tokens that it forces are drawn one by one on one side, and computed together on the other,
which is how the engine does it.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest

from benchmarks.engine.conftest import FORMS
from engine.async_llm import AsyncLLM
from engine.grammar.matcher import Matcher
from engine.service.event_loop import new_event_loop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

    from benchmarks.engine.conftest import Report
    from engine.models.names import ModelFile

_N_TOKENS = 128
_STREAMS = 8
_ROUNDS = 5
_NAMES = (
    *(
        "first_name",
        "last_name",
        "email",
        "street",
        "house_number",
        "postal_code",
        "city",
        "country",
        "phone",
    ),
    *("birthday", "occupation", "employer", "salary", "department", "manager", "start_date", "is_active"),
    *("language", "nationality", "height", "weight", "blood_type", "allergies", "insurance"),
    *("emergency_contact", "pharmacy", "last_visit", "next_visit", "outstanding_balance", "remarks"),
)
_TYPES: list[dict[str, Any]] = [
    {"type": "string", "maxLength": 20},
    {"type": "integer"},
    {"type": "boolean"},
    {"enum": ["low", "medium", "high"]},
]
SCHEMA = {
    "type": "object",
    "properties": {name: _TYPES[i % len(_TYPES)] for i, name in enumerate(_NAMES)},
    "required": list(_NAMES),
    "additionalProperties": False,
}

pytestmark = pytest.mark.timeout(900)


class Sides:
    """One server, asked for free text and for answers of a form."""

    def __init__(self, model: ModelFile) -> None:
        self.model = model.name
        self._runner = asyncio.Runner(loop_factory=new_event_loop)
        self._llm = AsyncLLM(model.name, parallel=_STREAMS, ctx_size=4096, speculation="off")
        ends = self._llm.service.engine.backend.info.eog_tokens
        self._no_end = dict.fromkeys(ends, -100.0)

    def run(self, form: dict[str, Any], streams: int) -> float:
        """Return the tokens per second of so many answers at once."""
        rate: float = self._runner.run(self._answer(form, streams))
        return rate

    async def _answer(self, form: dict[str, Any], streams: int) -> float:
        fields: dict[str, Any] = {"prompt": "A patient's record as JSON: ", "max_tokens": _N_TOKENS} | form
        fields |= {} if form else {"logit_bias": self._no_end}
        began = perf_counter()
        answers = await asyncio.gather(*(self._llm.complete(**fields, seed=i) for i in range(streams)))
        n_tokens: int = sum(answer.usage.completion_tokens for answer in answers)
        return n_tokens / (perf_counter() - began)

    def close(self) -> None:
        """End the server."""
        self._llm.close()
        self._runner.close()


@pytest.fixture(scope="module")
def sides(model: ModelFile) -> Iterator[Sides]:
    with closing(Sides(model)) as sides:
        yield sides


@pytest.mark.parametrize("streams", [1, _STREAMS])
def test_forms(benchmark: BenchmarkFixture, sides: Sides, report: Report, streams: int) -> None:
    rounds: list[tuple[float, float, float]] = []
    form = {"json_schema": SCHEMA}

    def run() -> None:
        free = sides.run({}, streams)
        with patch.object(Matcher, "forced", lambda _: []):
            one_by_one = sides.run(form, streams)
        rounds.append((free, one_by_one, sides.run(form, streams)))

    benchmark.pedantic(run, rounds=_ROUNDS, warmup_rounds=1)  # type: ignore[no-untyped-call]
    medians = [median(side) for side in zip(*rounds, strict=True)]
    drawn, together = (median(each[i] / each[0] for each in rounds) for i in (1, 2))
    report[FORMS].append(FORMS.line(sides.model, streams, *medians, drawn, together))
    benchmark.extra_info |= {"one by one": drawn, "together": together}
