"""``/metrics``: what became of requests, by door; and what all doors have done together."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from benchmarks.client import CallError
from engine.pb.nucleus.v1 import completions_pb2 as pb
from engine.serving.auth import ApiKeys
from tests.doors import DOORS, PythonDoor
from tests.edge.servers import ASK as BODY
from tests.edge.servers import PATH, served
from tests.grpc import calls
from tests.pages import gained, numbers_of, outcomes
from tests.quick import AnyText, engine_of, service_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from engine.service.service import CompletionService
    from tests.doors import Answer, Door
    from tests.pages import Numbers

ASK: Answer = {"prompt": "ABC", "max_tokens": 6, "seed": 1}
PATIENCE = 30.0  # never waited for where things work
TIMES = "gen_ai_server_{}_seconds_{}{{{}}}"


@pytest.fixture
def backend() -> AnyText:
    return AnyText()


@pytest.fixture(params=DOORS, ids=lambda door: door.name)
async def quick(request: pytest.FixtureRequest, backend: AnyText) -> AsyncIterator[Door]:
    """One door to a server of its own, which has room for two requests."""
    async with request.param(service_of(engine_of(backend, max_requests=2))) as door:
        yield door
        backend.open_gate()
        await asyncio.to_thread(door.service.close)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what gives no other sign."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def refused(asked: Awaitable[object]) -> str:
    with pytest.raises(CallError) as caught:
        await asked
    return caught.value.code


def by_outcome(door: Door) -> Numbers:
    """Return how the requests of a door have ended, and check that no other door has any."""
    counts = {name: count for name, count in outcomes(numbers_of(door.service)).items() if count}
    assert {name.split()[0] for name in counts} <= {door.name}
    return {name.split()[1]: count for name, count in counts.items()}


def times(found: Numbers, name: str, part: str, operation: str, *, error: str | None = None) -> float:
    """Return one number of a histogram of OpenTelemetry's."""
    labels = [("gen_ai_operation_name", operation), ("gen_ai_provider_name", "nucleus")]
    labels += [("gen_ai_request_model", "fake")] + ([] if error is None else [("error_type", error)])
    told = ",".join(f'{label}="{value}"' for label, value in sorted(labels))
    return found[TIMES.format(name, part, told)]


async def test_each_request_is_counted_once_by_its_door_and_its_end(quick: Door) -> None:
    whole = await quick.complete(**ASK)
    await quick.stream(**ASK)
    await quick.chat(messages=[{"role": "user", "content": "ABC"}], max_tokens=2)
    await quick.stream_chat(messages=[{"role": "user", "content": "ABC"}], max_tokens=2)
    assert by_outcome(quick) == {"length": 4}
    stop = whole["choices"][0]["text"][2]
    await quick.complete(**ASK, stop=stop)
    await quick.stream(**ASK, stop=stop)
    assert by_outcome(quick) == {"length": 4, "stop": 2}
    cut = await quick.complete(**{**ASK, "prompt": ["ABC", "ABD", "ABE"]}, stop=stop)
    assert {choice["finish_reason"] for choice in cut["choices"]} == {"stop", "length"}
    assert by_outcome(quick) == {"length": 5, "stop": 2}, "some of it was cut"


async def test_each_refusal_is_counted_with_its_code(quick: Door) -> None:
    chat = [{"role": "user", "content": "ABC"}]
    for code, asked in (
        ("invalid_request_error", {"temperature": 3}),
        ("context_length_exceeded", {"prompt": "A" * 300}),
        ("model_not_found", {"model": "another"}),
    ):
        assert await refused(quick.complete(**{**ASK, **asked})) == code
        assert await refused(quick.stream(**{**ASK, **asked})) == code
    assert await refused(quick.chat(messages=chat, temperature=3)) == "invalid_request_error"
    counts = {"invalid_request_error": 3, "context_length_exceeded": 2, "model_not_found": 2}
    assert by_outcome(quick) == counts
    quick.service.drain()
    assert await refused(quick.complete(**ASK)) == "unavailable"
    assert by_outcome(quick) == counts | {"unavailable": 1}


async def test_who_leaves_and_who_finds_no_room_is_counted(quick: Door, backend: AnyText) -> None:
    backend.hold()
    chunks, counts = quick.chunks(**ASK), quick.service.requests.outcomes
    first = asyncio.ensure_future(anext(chunks))
    await backend.next_decode()
    waits = asyncio.create_task(quick.complete(**ASK))
    await until(lambda: quick.service.engine.n_requests == 2)
    assert await refused(quick.complete(**ASK)) == "queue_full"
    waits.cancel()
    backend.let(1)
    assert (await first)["choices"]
    await chunks.aclose()
    await until(lambda: counts[quick.name, "cancelled"] == 2)
    assert by_outcome(quick) == {"cancelled": 2, "queue_full": 1}


async def test_who_leaves_with_the_last_chunk_has_all_of_the_answer(quick: Door) -> None:
    counts = quick.service.requests.outcomes
    async with aclosing(quick.chunks(**ASK)) as chunks:
        async for chunk in chunks:
            if chunk["choices"][0]["finish_reason"] is not None:
                break
    await until(lambda: any(counts.values()))
    assert by_outcome(quick) == {"length": 1}


async def test_what_fails_is_counted_with_the_time_that_it_took(quick: Door, backend: AnyText) -> None:
    for ask, after in ((quick.complete, 1), (quick.stream, 1), (quick.stream, 3)):
        backend.faults = {backend.n_decodes + after: RuntimeError()}
        assert await refused(ask(**ASK)) == "internal_error"
    assert by_outcome(quick) == {"internal_error": 3}
    found = numbers_of(quick.service)
    assert found["nucleus_step_failures_total"] == 3
    failed = [times(found, "request_duration", "count", "text_completion", error="internal_error")]
    failed += [times(found, "request_duration", "count", "text_completion", error="")]
    failed += [times(found, "time_to_first_token", "count", "text_completion")]
    assert failed == [3, 0, 0], "times of tokens are those of answers"


@pytest.mark.parametrize("kind", DOORS, ids=lambda kind: kind.name)
async def test_a_request_that_takes_too_long_is_counted(kind: type[Door]) -> None:
    backend = AnyText(gated=True)
    async with kind(service_of(engine_of(backend), max_seconds=0.01)) as door:
        for ask in (door.complete, door.stream):
            assert await refused(ask(**ASK)) == "deadline_exceeded"
        assert by_outcome(door) == {"deadline_exceeded": 2}
        backend.open_gate()
        await asyncio.to_thread(door.service.close)


async def test_the_times_of_a_request_add_up(quick: Door) -> None:
    """Its duration is the time to its first token, and that of each token behind it."""
    n_tokens = 6
    await quick.complete(prompt="ABC", max_tokens=n_tokens, n=3)
    await quick.stream_chat(messages=[{"role": "user", "content": "ABC"}], max_tokens=n_tokens)
    found = numbers_of(quick.service)
    for operation in ("text_completion", "chat"):
        told = {
            part: [
                times(found, "request_duration", part, operation, error=""),
                times(found, "time_to_first_token", part, operation),
                times(found, "time_per_output_token", part, operation),
            ]
            for part in ("count", "sum")
        }
        assert told["count"] == [1, 1, 1]
        duration, first, later = told["sum"]
        assert 0 < first < duration
        assert duration == pytest.approx(first + (n_tokens - 1) * later)
    firsts = [times(found, "time_to_first_token", "sum", each) for each in ("text_completion", "chat")]
    assert found["nucleus_queue_duration_seconds_count"] == 2
    assert 0 < found["nucleus_queue_duration_seconds_sum"] < sum(firsts)


async def test_an_answer_of_one_token_has_no_time_between_tokens_and_one_of_none_no_first(
    quick: Door,
) -> None:
    await quick.complete(**{**ASK, "max_tokens": 1})
    await quick.complete(**{**ASK, "max_tokens": 0, "echo": True, "logprobs": 0})
    found = numbers_of(quick.service)
    names = ("request_duration", "time_to_first_token", "time_per_output_token")
    durations, *tokens = names
    assert times(found, durations, "count", "text_completion", error="") == 2
    assert [times(found, name, "count", "text_completion") for name in tokens] == [1, 0]


async def test_tokens_are_those_that_answers_tell(door: Door) -> None:
    before, used = numbers_of(door.service), {"prompt": 0, "cached": 0, "completion": 0, "accepted": 0}
    asked: list[Answer] = [
        {"prompt": "Tokens are counted here. " * 16, "max_tokens": 12},
        {"prompt": "Tokens are counted here. " * 16 + "And there", "max_tokens": 9},
        {"prompt": "One, two, one, two, one, two, one, two,", "max_tokens": 24, "temperature": 0},
    ]
    for fields in asked:
        answer = await door.complete(**fields, ignore_eos=True)
        usage = answer["usage"]
        used["prompt"] += usage["prompt_tokens"]
        used["cached"] += usage["prompt_tokens_details"]["cached_tokens"]
        used["completion"] += usage["completion_tokens"]
        used["accepted"] += usage["completion_tokens_details"]["accepted_prediction_tokens"]
    grown = gained(before, numbers_of(door.service))
    told = {name: grown.get(f"nucleus_{name}_tokens_total", 0) for name in used}
    assert told == used
    assert used["cached"] > 0, "two of them begin alike"
    assert grown["nucleus_prefill_tokens_total"] == used["prompt"] - used["cached"]
    # The last token of an answer is not computed, and those that were guessed are computed as guesses.
    computed = used["completion"] - len(asked) - used["accepted"]
    assert grown["nucleus_decode_tokens_total"] == computed
    assert grown.get("nucleus_drafted_tokens_total", 0) >= used["accepted"]


async def test_steps_are_timed_and_their_costs_told(service: CompletionService) -> None:
    door, before = PythonDoor(service), numbers_of(service)
    await door.complete(prompt="Steps are counted here", max_tokens=12, ignore_eos=True)
    between = numbers_of(service)
    await door.complete(prompt="A long text. " * 30, max_tokens=4, ignore_eos=True)
    after = numbers_of(service)
    grown = gained(before, between)
    assert grown["nucleus_steps_total"] == 12
    assert grown["nucleus_model_duration_seconds_count"] == 12
    assert grown["nucleus_sampling_duration_seconds_count"] == 12
    assert 9 <= grown["nucleus_graphs_reused_total"] <= 12, (
        "a decode is like the one before, and a prompt of one token, too"
    )
    assert (
        0 < after['nucleus_step_cost_seconds{decodes="1"}'] < after['nucleus_step_cost_seconds{decodes="4"}']
    )
    assert after['nucleus_attention_cost_seconds{tokens="128"}'] >= 0
    assert after["nucleus_prefix_bytes"] == 0, "nothing is written to disk"


async def test_steps_take_as_long_as_their_parts_and_more() -> None:
    service = service_of(engine_of(AnyText()))
    await PythonDoor(service).complete(**ASK, n=2)
    await asyncio.to_thread(service.close)  # by then the last step has ended
    found = numbers_of(service)
    counts = {found[f"nucleus_{part}_duration_seconds_count"] for part in ("step", "model", "sampling")}
    assert counts == {found["nucleus_steps_total"]} == {6.0}
    sums = [found[f"nucleus_{part}_duration_seconds_sum"] for part in ("step", "model", "sampling")]
    assert sums[0] > sums[1] + sums[2] > 0


async def test_masks_and_forced_tokens_are_counted(door: Door) -> None:
    before = numbers_of(door.service)
    await door.complete(
        prompt="Yes or no? ", max_tokens=16, structured_outputs={"choice": ["yes", "yes, no"]}
    )
    grown = gained(before, numbers_of(door.service))
    assert 1 <= grown["nucleus_masked_steps_total"] <= grown["nucleus_steps_total"]
    assert grown.get("nucleus_late_masks_total", 0) <= grown["nucleus_masked_steps_total"]


async def test_what_is_held_is_told_while_it_is_held(quick: Door, backend: AnyText) -> None:
    backend.hold()
    asked = [asyncio.create_task(quick.complete(**ASK, n=5))]
    await backend.next_decode()
    found = numbers_of(quick.service)
    assert [found[f"nucleus_sequences_{state}"] for state in ("running", "waiting")] == [4, 1]
    assert found["nucleus_slots"] == 4
    assert (found["nucleus_requests_unfinished"], found["nucleus_requests_limit"]) == (1, 2)
    backend.open_gate()
    await asyncio.gather(*asked)
    found = numbers_of(quick.service)
    assert found["nucleus_up"] == 1
    assert (found["nucleus_sequences_running"], found["nucleus_requests_unfinished"]) == (0, 0)
    assert (found["nucleus_kv_cells"], found["nucleus_kv_cells_used"]) == (256, 0)
    await asyncio.to_thread(quick.service.close)
    assert numbers_of(quick.service)["nucleus_up"] == 0


async def test_refusals_before_there_is_a_request_are_counted_too() -> None:
    headers = {"Authorization": "Bearer sk-1", "Content-Type": "application/json"}
    async with served(keys=ApiKeys(["sk-1"]), max_body_bytes=200) as door:
        for changed, body, outcome in (
            ({"Authorization": "Bearer no"}, "{}", "invalid_api_key"),
            ({"Content-Type": "text/plain"}, "{}", "unsupported_media_type"),
            ({}, "{", "invalid_request_error"),
            ({}, " " * 201, "request_too_large"),
            ({"X-Request-Timeout": "-1"}, '{"model": "fake", "prompt": "A"}', "invalid_request_error"),
        ):
            before = outcomes(numbers_of(door.service))
            answer = await door.client.post(PATH, content=body, headers=headers | changed)
            assert answer.status_code >= 400
            assert gained(before, outcomes(numbers_of(door.service))) == {f"http {outcome}": 1}
        before = outcomes(numbers_of(door.service))
        for path in ("/v1/models", "/metrics", "/tokenize", "/nowhere"):
            await door.client.post(path)
        assert gained(before, outcomes(numbers_of(door.service))) == {}, "these ask for no answer"
        async with calls.serving(door.service, ApiKeys(["sk-1"])) as channel:
            stub = calls.stub_of(channel)
            await calls.error_of(calls.create(stub, pb.CompletionRequest(model="fake")))
            await calls.error_of(stub.ListModels(pb.ListModelsRequest()))
        assert gained(before, outcomes(numbers_of(door.service))) == {"grpc invalid_api_key": 1}


async def test_a_full_server_refuses_over_http_before_it_reads_and_counts_that() -> None:
    async with served(max_requests=1) as door:
        door.backend.hold()
        first = asyncio.create_task(door.client.post(PATH, json=BODY))
        await door.backend.next_decode()
        assert (await door.client.post(PATH, json=BODY)).status_code == 429
        assert outcomes(numbers_of(door.service))["http queue_full"] == 1
        door.backend.open_gate()
        assert (await first).status_code == 200
