"""Guessed tokens, with the real model: fewer steps, the same answers."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from engine.core.step_cost import StepCost
from engine.loading.launch import launch
from engine.loading.options import EngineOptions
from tests.answers import comparable
from tests.conftest import MODEL
from tests.doors import PythonDoor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.service.service import CompletionService
    from tests.doors import Answer, Door

VERSE = "The old fisherman rows his boat across the quiet lake and counts the birds. "
NO_END = {"0": -100, "2": -100}
COPIES: dict[str, Answer] = {
    "greedy": {"temperature": 0, "logprobs": 3},
    "a little chance": {"temperature": 0.4, "logprobs": 1},
    "penalties and bias": {"temperature": 0, "frequency_penalty": 0.05, "logit_bias": NO_END | {"260": 1}},
    "choices": {"temperature": 0.2, "n": 2},
    "the best of three": {"temperature": 0.2, "best_of": 3, "n": 1},
    "a stop string": {"temperature": 0, "stop": ["lake and"], "logprobs": 1},
    "a stop string that stays": {"temperature": 0, "stop": ["counts"], "include_stop_str_in_output": True},
    "at least so many": {"temperature": 0, "stop": ["boat"], "min_tokens": 20},
}
"""Requests whose answers repeat their prompt."""


def asked(name: str) -> Answer:
    fields: Answer = {"prompt": VERSE * 4, "seed": 7, "max_tokens": 40}
    return fields | COPIES[name]


@pytest.fixture(scope="module")
def plain() -> Iterator[PythonDoor]:
    """A door of a server that guesses nothing."""
    options = EngineOptions(model=MODEL, parallel=4, ctx_size=512, speculation="off")
    with closing(launch(options).service) as service:
        yield PythonDoor(service)


@pytest.fixture
def eager(service: CompletionService, monkeypatch: pytest.MonkeyPatch) -> PythonDoor:
    """Let the server believe that rows cost next to nothing, whatever it has measured beside other tests."""
    shape = service.engine._steps.scheduler._shape
    most = service.engine.cost.max_decodes
    believed = StepCost({1: 1.0, most: 1.01}, {1: 0.01}, max_decodes=most, max_tokens=512)
    monkeypatch.setattr(shape, "_cost", believed)
    return PythonDoor(service)


@pytest.mark.parametrize("name", [*COPIES])
async def test_an_answer_is_what_it_is_without_guesses(
    eager: PythonDoor, plain: PythonDoor, name: str
) -> None:
    expected = await plain.complete(**asked(name))
    answer = await eager.complete(**asked(name))
    assert comparable(answer) == comparable(expected)
    guessed, without = (each["usage"]["completion_tokens_details"] for each in (answer, expected))
    # Beside each other, sequences with a seed keep their cells in order, and guess nothing.
    assert (guessed["accepted_prediction_tokens"] > 0) == (not {"n", "best_of"} & {*COPIES[name]})
    assert without == {"accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}


@pytest.mark.usefixtures("eager")
async def test_a_copy_takes_fewer_steps_than_tokens_and_says_so(door: Door) -> None:
    before = door.service.engine.step_totals.steps
    answer = await door.complete(prompt=VERSE * 4, seed=1, temperature=0, max_tokens=60, logit_bias=NO_END)
    steps = door.service.engine.step_totals.steps - before
    counts = answer["usage"]["completion_tokens_details"]
    assert counts["accepted_prediction_tokens"] >= 20
    assert steps < 45


@pytest.mark.parametrize("speculation", ["auto", "off"])
def test_one_sequence_at_a_time_is_measured_too_if_it_may_guess(speculation: str) -> None:
    """Without prices no guess would ever be worth its row."""
    given = {"model": MODEL, "parallel": 1, "ctx_size": 256, "speculation": speculation}
    with closing(launch(EngineOptions.model_validate(given)).service) as service:
        assert service.engine.cost.is_known(1) == (speculation == "auto")
