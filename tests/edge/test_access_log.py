"""A line for each request: the same fields through both doors, and what was asked only if that is wanted."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks.client import CallError
from engine.serving.access_log import AccessLine, AccessLog, shown
from engine.serving.auth import ApiKeys
from engine.serving.log_format import json_formatter
from tests.doors import GrpcDoor, HttpDoor
from tests.edge.access import access_lines
from tests.edge.servers import ASK, PATH, served
from tests.grpc.calls import error_of, raw_call
from tests.grpc.calls import serving as serving_grpc
from tests.process import MODEL, nucleus
from tests.quick import AnyText, engine_of, service_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.doors import Door
    from tests.edge.access import Lines

BAD = {"http": 400, "grpc": "INVALID_ARGUMENT"}
GOOD = {"http": 200, "grpc": "OK"}
WHOLE = {
    *("message", "client", "method", "path", "status", "total_ms", "request_id", "outcome", "model", "user"),
    *("answer_id", "prompt_tokens", "cached_tokens", "completion_tokens", "finish_reasons"),
    *("queue_ms", "first_token_ms"),
}
"""What a line has about a request that was answered."""


@pytest.fixture
def lines() -> Iterator[Lines]:
    with access_lines() as lines:
        yield lines


@pytest.fixture
def backend() -> AnyText:
    return AnyText()


@pytest.fixture(params=(HttpDoor, GrpcDoor), ids=lambda door: door.name)
async def door(request: pytest.FixtureRequest, backend: AnyText) -> AsyncIterator[Door]:
    service = service_of(engine_of(backend))
    async with request.param(service) as door:
        yield door
        backend.open_gate()
    await asyncio.to_thread(service.close)


@pytest.mark.parametrize("streams", [False, True])
async def test_an_answer(door: Door, lines: Lines, streams: bool) -> None:
    asked: dict[str, Any] = {"prompt": "SECRET" * 16, "n": 2, "max_tokens": 3, "user": "alice\x1b[2J"}
    for cached in (0, 96):  # the second time all but the last token of the prompt are in the cache
        await (door.stream(**asked) if streams else door.complete(**asked))
        line = await lines.next()
        assert set(line) == WHOLE
        assert (line["status"], line["outcome"]) == (GOOD[door.name], "ok")
        assert (line["prompt_tokens"], line["cached_tokens"], line["completion_tokens"]) == (97, cached, 6)
        assert line["finish_reasons"] == ["length", "length"]
        assert 0 <= line["queue_ms"] <= line["first_token_ms"] <= line["total_ms"]
        assert line["user"] == "alice\\x1b[2J"
        assert line["client"] == "127.0.0.1"
        assert line["answer_id"].startswith("cmpl-")
        assert "SECRET" not in str(line) + json.dumps(line)


async def test_a_chat(door: Door, lines: Lines) -> None:
    await door.chat(messages=[{"role": "user", "content": "SECRET"}], max_tokens=2)
    line = await lines.next()
    assert (line["completion_tokens"], line["outcome"]) == (2, "ok")
    assert line["answer_id"].startswith("chatcmpl-")
    assert "SECRET" not in str(line)


async def test_a_refusal(door: Door, lines: Lines) -> None:
    with pytest.raises(CallError):
        await door.complete(prompt="ABC", temperature=3)
    line = await lines.next()
    assert (line["status"], line["outcome"]) == (BAD[door.name], "invalid_request_error")
    assert "prompt_tokens" not in line


async def test_a_failure_in_mid_stream(door: Door, lines: Lines, backend: AnyText) -> None:
    backend.faults[3] = RuntimeError("broken")
    with pytest.raises(CallError):
        await door.stream(prompt="ABC", max_tokens=9)
    line = await lines.next()
    assert (line["outcome"], line["completion_tokens"]) == ("internal_error", 2)


async def test_a_client_that_leaves(door: Door, lines: Lines, backend: AnyText) -> None:
    backend.hold()
    backend.let(2)
    async with aclosing(door.chunks(prompt="ABC", max_tokens=100)) as chunks:
        await anext(chunks)
    line = await lines.next()
    assert line["outcome"] == "cancelled"
    assert 1 <= line["completion_tokens"] <= 2
    assert "finish_reasons" not in line


async def test_a_client_that_leaves_before_its_answer(door: Door, lines: Lines, backend: AnyText) -> None:
    """What was generated for it has cost as much as what is read."""
    backend.hold()
    asked = asyncio.create_task(door.complete(prompt="ABC", max_tokens=100))
    for _ in range(2):
        await backend.next_decode()
        backend.let(1)
    await backend.next_decode()
    asked.cancel()
    line = await lines.next()
    assert (line["outcome"], line["completion_tokens"]) == ("cancelled", 2)


async def test_a_request_that_waits_is_told_how_long(door: Door, lines: Lines, backend: AnyText) -> None:
    """Four slots are taken, so the fifth request never gets one before its client leaves."""
    backend.hold()
    running = asyncio.create_task(door.complete(prompt="ABC", n=4, max_tokens=2))
    await backend.next_decode()
    waiting = asyncio.create_task(door.complete(prompt="B", max_tokens=2))
    while door.service.engine.n_requests < 2:  # noqa: ASYNC110 - waiting gives no sign but this one
        await asyncio.sleep(0)
    waiting.cancel()
    line = await lines.next()
    assert (line["outcome"], line["completion_tokens"]) == ("cancelled", 0)
    assert 0 <= line["queue_ms"] <= line["total_ms"]
    assert "first_token_ms" not in line
    backend.open_gate()
    await running


async def test_wrong_keys_and_unknown_places_over_http(lines: Lines) -> None:
    async with served(keys=ApiKeys(["sk-1"])) as server:
        for path, key, status, outcome in (
            ("/v1/models?key=SECRET", "sk-2", 401, "invalid_api_key"),
            ("/nowhere?key=SECRET", "sk-1", 404, "not_found"),
            (f"/{'x' * 1000}", "sk-1", 404, "not_found"),
            (PATH, "sk-1", 405, "method_not_allowed"),
        ):
            await server.client.get(path, headers={"Authorization": f"Bearer {key}", "X-Request-Id": "mine"})
            line = await lines.next()
            assert (line["status"], line["outcome"], line["request_id"]) == (status, outcome, "mine")
            assert "SECRET" not in str(line)
            assert len(line["path"]) <= 200


async def test_wrong_keys_and_unknown_places_over_grpc(lines: Lines) -> None:
    engine = engine_of(AnyText())
    async with serving_grpc(service_of(engine), ApiKeys(["sk-1"])) as channel:
        for key, status, outcome in (
            ("sk-2", "UNAUTHENTICATED", "invalid_api_key"),
            ("sk-1", "UNIMPLEMENTED", "not_found"),
        ):
            metadata = (("authorization", f"Bearer {key}"), ("x-request-id", "mine"))
            await error_of(raw_call(channel, "/nucleus.v1.CompletionService/No", metadata=metadata))
            line = await lines.next()
            assert (line["status"], line["outcome"], line["request_id"]) == (status, outcome, "mine")
            assert line["path"] == "/nucleus.v1.CompletionService/No"
        health: Any = health_pb2_grpc.HealthStub(channel)
        await error_of(health.Check(health_pb2.HealthCheckRequest(service="other")))
        level, line = await lines.next_record()
        assert (level, line["status"], line["outcome"]) == (logging.INFO, "NOT_FOUND", "not_found")
        await health.Check(health_pb2.HealthCheckRequest())
        level, line = await lines.next_record()
        assert (level, line["status"]) == (logging.DEBUG, "OK")
        guarded = (("authorization", "Bearer sk-1"),)
        for method in ("HealthCheck", "GetLoads"):
            call = raw_call(channel, f"/vllm.grpc.engine.VllmEngine/{method}", metadata=guarded)
            assert [answer async for answer in call]
            level, line = await lines.next_record()
            assert (level, line["status"]) == (logging.DEBUG, "OK")
    await asyncio.to_thread(engine.close)


async def test_probes_are_quiet_while_all_is_well(lines: Lines) -> None:
    async with served() as server:
        for path in ("/health", "/ready", "/metrics"):
            await server.client.get(path)
            assert (await lines.next_record())[0] == logging.DEBUG
        server.service.drain()
        await server.client.get("/ready")
        level, line = await lines.next_record()
        assert (level, line["status"], line["outcome"]) == (logging.INFO, 503, "unavailable")
        await asyncio.to_thread(server.service.close)
        for path in ("/health", "/health?verbose"):
            await server.client.get(path)
            level, line = await lines.next_record()
            assert (level, line["status"], line["outcome"]) == (logging.INFO, 503, "unavailable")


async def test_prompts_are_logged_where_that_is_asked_for(lines: Lines) -> None:
    async with served(access_log=AccessLog(with_prompts=True)) as server:
        message = {"role": "user", "content": "A"}
        for fields, asked in (
            ({"prompt": "A\nB"}, "A\\nB"),
            ({"prompt": ["A", "B"]}, '["A", "B"]'),
            ({"prompt": "A" * 200}, "A" * 200),
            ({"prompt": [1, 2]}, "[1, 2]"),
            ({"prompt": None, "messages": [message]}, json.dumps([message])),
        ):
            await server.client.post(PATH, json=ASK | fields)
            line = await lines.next()
            assert line["prompt"] == asked
            assert len(str(line).splitlines()) == 1


TEXTS = st.text(max_size=300)


@given(TEXTS)
def test_what_a_client_sends_is_shown_in_bounds(text: str) -> None:
    assert shown(text).isprintable()
    assert len(shown(text)) <= 10 * 200
    assert shown("plain é " * 3) == "plain é " * 3


@given(TEXTS, TEXTS)
@example("a outcome=ok", "b user")
@example('"', "\\")
def test_a_client_cannot_write_fields_or_lines_of_its_own(user: str, name: str) -> None:
    line = AccessLine(
        {"message": "m", "client": "c", "method": "GET", "path": "/", "status": 200, "total_ms": 1.25}
        | {"request_id": shown(name), "outcome": "ok", "user": shown(user)}
    )
    record = logging.LogRecord("nucleus.access", logging.INFO, __file__, 1, line, None, None)
    as_json = json.loads(json_formatter().format(record))
    assert as_json == {**line, "level": "INFO", "logger": "nucleus.access", "time": as_json["time"]}
    text = record.getMessage()
    assert text.isprintable()
    begin, _, rest = text.partition(" user=")
    if "user=" not in name:
        assert begin.startswith("c GET '/' 200 1 ms ")
        for told, given in ((rest, user), (begin.removeprefix("c GET '/' 200 1 ms "), name)):
            is_quoted = told.startswith('"')
            assert (json.loads(told) if is_quoted else told) == shown(given)
            assert is_quoted or (told and not set(' "=') & set(told)), "one word, or in quotes"


def test_a_line_of_text() -> None:
    line = AccessLine(
        {"message": "m", "client": "::1", "method": "POST", "path": "/a", "status": 200, "total_ms": 12.5}
        | {"request_id": "req-1", "outcome": "queue_full", "finish_reasons": ["stop", "length"]}
    )
    assert str(line) == "::1 POST '/a' 200 12 ms req-1 outcome=queue_full finish_reasons=stop,length"


def test_every_line_of_a_json_log_is_an_object() -> None:
    """The real server, its start and its end included."""
    with nucleus("--log-format", "json", "--log-prompts", "--log-level", "debug") as serving:
        body = {"model": MODEL, "prompt": "The capital of France is", "max_tokens": 2, "user": "alice"}
        answer = httpx2.post(f"{serving.address('HTTP')}{PATH}", json=body, timeout=60)
        assert answer.status_code == 200
        serving.signal()
        serving.end()
    records = serving.records
    assert {"time", "level", "logger", "message"} <= set.intersection(*map(set, records))
    assert any(record["message"].startswith("curl") for record in records)
    (warning,) = (record for record in records if "--log-prompts" in record["message"])
    assert warning["level"] == "WARNING"
    (access,) = (record for record in records if record["logger"] == "nucleus.access")
    assert set(access) == WHOLE | {"prompt", "time", "level", "logger"}
    assert (access["user"], access["prompt"], access["completion_tokens"]) == ("alice", body["prompt"], 2)
