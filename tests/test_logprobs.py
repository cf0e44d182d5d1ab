"""What the four arrays hold where a model's own numbers are easier to choose than to find."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from benchmarks.client import CallError, to_proto
from engine.pb.nucleus.v1 import completions_pb2 as pb
from tests.answers import ARRAYS, joined
from tests.core.fake_backend import END
from tests.doors import DOORS, Door, GrpcDoor
from tests.quick import AnyText, engine_of, service_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from engine.service.service import CompletionService
    from tests.doors import Answer

LIMIT = 20


class Twins(AnyText):
    """A vocabulary of many tokens and three texts."""

    def piece(self, token: int) -> bytes:
        return super().piece(token and 1 + token % 3)


@pytest.fixture(scope="module", params=DOORS, ids=lambda door: door.name)
async def quick(request: pytest.FixtureRequest) -> AsyncIterator[Door]:
    """A server that allows more alternatives than usual, of a model that never draws its end token."""
    engine = engine_of(AnyText(), max_logprobs=LIMIT)
    async with request.param(service_of(engine, max_logprobs=LIMIT)) as door:
        yield door
        await asyncio.to_thread(engine.close)


async def test_alternatives_are_limited_by_the_server(quick: Door) -> None:
    answer = await quick.complete(prompt="ABC", logprobs=LIMIT, echo=True)
    _, *tops = answer["choices"][0]["logprobs"]["top_logprobs"]
    assert {len(top) for top in tops} <= {LIMIT, LIMIT + 1}
    with pytest.raises(CallError) as refused:
        await quick.complete(prompt="ABC", logprobs=LIMIT + 1)
    assert (refused.value.code, refused.value.param) == ("invalid_request_error", "logprobs")
    assert f"{LIMIT}, not {LIMIT + 1}" in refused.value.message


async def test_a_token_that_the_model_rules_out_has_the_least_number(quick: Door) -> None:
    answer = await quick.complete(prompt=[1, END, 2], max_tokens=0, echo=True, logprobs=1)
    logprobs = answer["choices"][0]["logprobs"]
    assert logprobs["token_logprobs"][1] == logprobs["top_logprobs"][1]["<end>"] == -9999.0
    assert logprobs["token_logprobs"][2] > -9999.0


async def test_tokens_of_one_text_share_a_place_in_the_mapping_and_have_their_own_on_grpc() -> None:
    fields: Answer = {"prompt": "ABC", "max_tokens": 8, "seed": 1, "logprobs": 5, "echo": True}
    engine = engine_of(Twins())
    service, answers = service_of(engine), []
    for door_of in DOORS:
        async with door_of(service) as door:
            answers.append((await door.complete(**fields))["choices"])
    assert answers == [answers[0]] * len(DOORS)
    async with GrpcDoor(service) as door:
        request = pb.CreateCompletionRequest(request=to_proto({"model": service.name, **fields}))
        (choice,) = (await door.stub.CreateCompletion(request)).completion.choices
    _, *entries = choice.logprobs.tokens
    for entry, mapped in zip(entries, answers[0][0]["logprobs"]["top_logprobs"][1:], strict=True):
        tops = {top.token_id: top.logprob for top in entry.top_logprobs}
        assert tops[entry.token_id] == entry.logprob
        assert 5 <= len(tops) == len(entry.top_logprobs) <= 6
        assert len(mapped) < 5
        best = [*tops.values()][:5]
        assert best == sorted(best, reverse=True)
    await asyncio.to_thread(engine.close)


async def test_a_stop_that_leaves_no_text_leaves_empty_arrays(quick: Door) -> None:
    fields: Answer = {"prompt": "ABC", "seed": 1, "logprobs": 2}
    text = (await quick.complete(**fields, max_tokens=1))["choices"][0]["text"]
    answer = await quick.complete(**fields, stop=text)
    (choice,) = answer["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("", "stop")
    assert choice["logprobs"] == {name: [] for name in ARRAYS}
    assert answer["usage"]["completion_tokens"] == 1
    assert joined(await quick.stream(**fields, stop=text)) == [choice]


async def test_a_character_that_begins_in_the_prompt_and_ends_in_the_answer_is_whole(
    door: Door, service: CompletionService
) -> None:
    """A bias forces the rest of it; its text is the answer's, as nothing of it could be shown before."""
    ids = service.engine.backend.tokenize("it is 🪿")
    *prompt, last = ids
    assert not service.engine.backend.piece(last).decode("utf-8", "ignore"), "it is split over tokens"
    fields: Answer = {"prompt": prompt, "max_tokens": 1, "logit_bias": {str(last): 100}, "logprobs": 1}
    (plain,) = (await door.complete(**fields))["choices"]
    assert plain["text"] == "🪿"
    (echoed,) = (await door.complete(**fields, echo=True))["choices"]
    assert echoed["text"] == "it is 🪿"
    assert echoed["logprobs"]["text_offset"][-1] == plain["logprobs"]["text_offset"][0] == len("it is ")
