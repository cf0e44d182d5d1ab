"""A short run against a real server: it holds, and it would not if the server were wrong."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.client import HttpClient
from benchmarks.servers import HOST, Ports, Running, serving
from tests.chaos import __main__ as program
from tests.chaos.crowd import Crowd, Tally
from tests.chaos.polite import Latency, ask_politely
from tests.chaos.questions import WAYS, Question, seeded_requests
from tests.chaos.server import is_idle, metrics_at_rest
from tests.chaos.visits import Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from engine.service.service import CompletionService

HELD = ("requests_unfinished", "sequences_running", "sequences_waiting", "kv_cells_used")
METRICS = {f"nucleus_{name}": 0.0 for name in HELD}
LATENCY = Latency(3, 0, 1.0, 2.0)


async def no_time(_: float) -> None:
    """Sleep as a bad network does, but for no longer than it takes others to run."""
    await asyncio.sleep(0)


@pytest.fixture(scope="module")
async def ports(service: CompletionService) -> AsyncIterator[Ports]:
    async with serving(service) as ports:
        yield ports


@pytest.fixture(scope="module")
async def questions(ports: Ports, service: CompletionService) -> list[Question]:
    client = HttpClient(HOST, ports.http)
    short = {"max_tokens": 3, "prompt": "Once upon a time"}
    requests = [fields | short for fields in seeded_requests(service.name, 4, seed=5)]
    return [await Question.ask(client, fields) for fields in requests]


async def test_every_request_is_answered_right_or_aborted_and_nothing_is_left(
    ports: Ports, questions: list[Question]
) -> None:
    crowd = Crowd(ports, questions, 1, tally := Tally(), no_time)
    await asyncio.gather(*(crowd.visit_once(Random(number)) for number in range(12)))  # noqa: S311
    assert tally.faults == []
    assert tally.total(Outcome.LOST) == tally.total(Outcome.WRONG) == tally.total(Outcome.REFUSED) == 0
    assert all(counts[Outcome.ANSWERED] for counts in tally.outcomes.values()), "each way was tried"
    assert tally.total(Outcome.ABORTED) >= 1 <= tally.cuts
    assert is_idle(await metrics_at_rest(ports))


async def test_a_wrong_answer_is_found(ports: Ports, questions: list[Question]) -> None:
    wrong = [replace(question, usage={}) for question in questions]
    until, tally = asyncio.Event(), Tally()
    until.set()
    await ask_politely(ports, wrong, tally, until)
    assert tally.total(Outcome.WRONG) == len(tally.faults) == len(wrong)


async def test_the_polite_client_asks_everything(ports: Ports, questions: list[Question]) -> None:
    tally, until = Tally(), asyncio.Event()
    until.set()
    latency = await ask_politely(ports, questions, tally, until)
    assert latency.answers == tally.total(Outcome.ANSWERED) == len(questions)


def test_percentiles_of_latencies() -> None:
    assert Latency.of([0.3, 0.1, 0.2]) == (3, 0, 0.2, 0.3)
    assert Latency.of([float(n) for n in range(1, 201)], refused=2) == (200, 2, 100.0, 198.0)


@pytest.mark.parametrize("name", METRICS)
def test_a_server_that_holds_something_is_not_idle(name: str) -> None:
    assert is_idle(METRICS)
    assert not is_idle(METRICS | {name: METRICS[name] + 1})


def found(outcomes: dict[Outcome, int], **fields: Any) -> program.Found:
    tally = Tally({way: Counter(outcomes) for way in WAYS}, cuts=1)
    return program.Found(tally, LATENCY, LATENCY, (1.0, 2.0), METRICS)._replace(**fields)


HOLDS = found({Outcome.ANSWERED: 2, Outcome.ABORTED: 1, Outcome.REFUSED: 1})


@pytest.mark.parametrize(
    ("result", "logged", "status"),
    [
        (HOLDS, "a warning", 0),
        (HOLDS, "Traceback (most recent call last):", 1),
        (found({Outcome.ANSWERED: 2, Outcome.LOST: 1}), "", 1),
        (found({Outcome.ANSWERED: 2, Outcome.WRONG: 1}), "", 1),
        (found({Outcome.ABORTED: 1}), "", 1),
        (HOLDS._replace(metrics=METRICS | {"nucleus_kv_cells_used": 1.0}), "", 1),
    ],
)
def test_the_program_fails_unless_everything_holds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, result: program.Found, logged: str, status: int
) -> None:
    @contextmanager
    def server(log: Path) -> Iterator[Running]:
        log.write_text(logged)
        yield Running(Ports(0, 0), 0, "model")

    async def run(*_: object) -> program.Found:
        return result

    monkeypatch.setattr(program, "_FOLDER", tmp_path)
    monkeypatch.setattr(program, "chaos_server", server)
    monkeypatch.setattr(program, "run", run)
    assert program.main(["--minutes", "1"]) == status
    written = json.loads((tmp_path / "chaos.json").read_text())
    assert written["holds"] == (status == 0)
    assert written["outcomes"]["http"] == {str(key): n for key, n in result.tally.outcomes["http"].items()}
