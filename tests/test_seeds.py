"""What a seed repeats, and that nothing repeats without one."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Any

import pytest

from tests.answers import comparable, joined
from tests.doors import PythonDoor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from engine.service.service import CompletionService
    from tests.doors import Answer, Door

STORY: dict[str, Any] = {"prompt": "Once upon a time", "max_tokens": 8}


async def test_without_a_seed_no_two_choices_are_alike(door: Door) -> None:
    choices = [choice for _ in range(2) for choice in (await door.complete(**STORY, n=3))["choices"]]
    assert len({choice["text"] for choice in choices}) == 6


async def test_a_seed_repeats_its_choices_which_differ(door: Door) -> None:
    first, again = [(await door.complete(**STORY, n=3, seed=42, logprobs=5))["choices"] for _ in range(2)]
    assert first == again
    assert len({choice["text"] for choice in first}) == 3


async def test_another_seed_is_another_answer(door: Door) -> None:
    texts = {
        (await door.complete(**STORY, seed=seed))["choices"][0]["text"]
        for seed in (0, 1, -1, (1 << 63) - 1, -(1 << 63))
    }
    assert len(texts) == 5


async def test_a_choice_does_not_depend_on_n(door: Door) -> None:
    alone = (await door.complete(**STORY, seed=9))["choices"]
    among = (await door.complete(**STORY, seed=9, n=6))["choices"]
    assert among[:1] == alone


N_OTHERS = 2
SEEDED: dict[str, Answer] = {
    "one choice": {**STORY, "seed": 42, "logprobs": 5, "max_tokens": 16},
    "choices": {**STORY, "seed": 42, "logprobs": 5, "max_tokens": 16, "n": 2, "temperature": 0.8},
    "echo": {"prompt": "天气非常好", "seed": 7, "max_tokens": 8, "logprobs": 2, "echo": True},
}


@pytest.fixture(scope="module")
async def alone(service: CompletionService) -> dict[str, Answer]:
    """What an engine answers that has nothing else to do."""
    async with PythonDoor(service) as python:
        return {case: comparable(await python.complete(**fields)) for case, fields in SEEDED.items()}


@pytest.fixture
async def load(door: Door, service: CompletionService) -> AsyncIterator[None]:
    """Streams of other requests, which have begun and go on until the test is done."""
    ends = dict.fromkeys(map(str, service.engine.backend.info.eog_tokens), -100)
    async with AsyncExitStack() as stack:
        for number in range(N_OTHERS):
            chunks = door.chunks(prompt=f"Chapter {number}.", max_tokens=2000, logit_bias=ends)
            await stack.enter_async_context(aclosing(chunks))
            await anext(chunks)
        yield
        assert service.engine.n_requests == N_OTHERS, "they did not run all the time"


@pytest.mark.parametrize("case", SEEDED)
async def test_a_seed_repeats_to_the_bit_alone(door: Door, alone: dict[str, Answer], case: str) -> None:
    assert comparable(await door.complete(**SEEDED[case])) == alone[case]


@pytest.mark.usefixtures("load")
@pytest.mark.parametrize("case", SEEDED)
async def test_a_seed_repeats_to_the_bit_under_load(door: Door, alone: dict[str, Answer], case: str) -> None:
    """Beside others that were there before, and beside itself."""
    fields = SEEDED[case]
    for answer in await asyncio.gather(*(door.complete(**fields) for _ in range(2))):
        assert comparable(answer) == alone[case]
    assert joined(await door.stream(**fields)) == alone[case]["choices"]
