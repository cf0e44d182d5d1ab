"""What only HTTP has: headers, keys, status codes, event frames, and bodies that are no requests."""

from __future__ import annotations

import asyncio
import hmac
import json
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from engine.errors import AuthenticationError
from engine.serving.auth import ApiKeys
from engine.serving.http import create_app
from engine.serving.http_server import HttpServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from engine.service.service import CompletionService

KEY = "sk-xxxx"
ASK = {
    "model": "smollm2-135m-instruct",
    "prompt": "The capital of France is",
    "max_tokens": 4,
    "temperature": 0,
}
GUARDED = [
    ("POST", "/v1/completions"),
    ("POST", "/v1/chat/completions"),
    ("GET", "/v1/models"),
    ("POST", "/tokenize"),
    ("POST", "/detokenize"),
    ("GET", "/tokenizer_info"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("GET", "/nowhere"),
    ("GET", "/health/"),
    ("GET", "//health"),
    ("GET", "/health/../v1/models"),
    ("GET", "/%68ealth%2f..%2fv1/models"),
    ("OPTIONS", "/v1/completions"),
]


@pytest.fixture(scope="module")
async def http(service: CompletionService) -> AsyncIterator[httpx2.AsyncClient]:
    """A client with the right key of a server that asks for one."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(create_app(service, ApiKeys([KEY, "sk-other"]), max_body_bytes=100_000))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    async with httpx2.AsyncClient(
        base_url=url,
        headers={"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
        timeout=60,
    ) as client:
        yield client
    server.should_exit = True
    await serving


def check_error(answer: httpx2.Response, status: int, code: str, param: str | None = None) -> dict[str, Any]:
    assert answer.status_code == status
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, param)
    return error


async def test_an_answer_has_the_contracts_keys(http: httpx2.AsyncClient) -> None:
    answer = (await http.post("/v1/completions", json=ASK)).json()
    assert set(answer) == {"id", "object", "created", "model", "choices", "usage"}
    assert answer["id"].startswith("cmpl-")
    assert answer["object"] == "text_completion"
    assert set(answer["choices"][0]) == {"text", "index", "logprobs", "finish_reason"}
    assert set(answer["usage"]) == {
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "prompt_tokens_details",
        "completion_tokens_details",
    }


async def test_events_are_data_lines_and_done_ends_them(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/v1/completions", json=ASK | {"stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    frames = answer.text.split("\n\n")
    assert frames[-2:] == ["data: [DONE]", ""]
    for frame in frames[:-2]:
        chunk = json.loads(frame.removeprefix("data: "))
        assert set(chunk) == {"id", "object", "created", "model", "choices"}


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize("header", [None, "Bearer sk-wrong", "Bearer", KEY, f"Basic {KEY}"])
async def test_without_the_right_key_every_route_answers_401(
    http: httpx2.AsyncClient, method: str, path: str, header: str | None
) -> None:
    request = http.build_request(method, http.base_url.copy_with(raw_path=path.encode()))
    del request.headers["Authorization"]
    if header is not None:
        request.headers["Authorization"] = header
    for host in (None, "127.0.0.1", "evil.example", "localhost/health"):
        if host is not None:
            request.headers["Host"] = host
        answer = await http.send(request)
        check_error(answer, 401, "invalid_api_key")
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "header", ["Bearer é", "Bearer \udcff", "Bearer", "Bearer  ", "", "sk-xxxx", f"{KEY} {KEY}"]
)
def test_odd_headers_are_refused_and_nothing_else(header: str) -> None:
    with pytest.raises(AuthenticationError):
        ApiKeys([KEY]).check(header)


@pytest.mark.parametrize("key", ["sk-1", "sk-3", "sk-", "x" * 10_000])
def test_a_key_is_compared_with_every_other_in_constant_time(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """What is compared are digests, all of one length, so that neither ends early."""
    keys, compared = ApiKeys(["sk-1", "sk-2", "sk-3"]), []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    with suppress(AuthenticationError):
        keys.check(f"Bearer {key}")
    assert compared == [(32, 32)] * 3


@pytest.mark.parametrize("key", [KEY, "sk-other"])
async def test_each_key_opens(http: httpx2.AsyncClient, key: str) -> None:
    answer = await http.get("/v1/models", headers={"Authorization": f"bearer {key}"})
    assert answer.json()["data"][0]["id"] == ASK["model"]


async def test_an_answer_does_not_wait_for_an_acknowledgement(service: CompletionService) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(create_app(service, ApiKeys()))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}") as client:
        await client.get("/health")
        (connection,) = server.server_state.connections
        accepted = connection.transport.get_extra_info("socket")
        no_delay = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    server.should_exit = True
    await serving
    assert no_delay


@pytest.mark.parametrize("path", ["/health", "/ready"])
async def test_health_needs_no_key(http: httpx2.AsyncClient, path: str) -> None:
    answer = await http.get(path, headers={"Authorization": ""})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b"[" * 50_000,
        b'{"a":' * 10_000,
    ],
)
async def test_a_body_that_is_no_request_is_a_400(http: httpx2.AsyncClient, body: bytes) -> None:
    answer = await http.post("/v1/completions", content=body)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["type"] == "invalid_request_error"
    assert error["message"]


@pytest.mark.parametrize(
    ("number", "shown"), [("NaN", "nan"), ("Infinity", "inf"), ("-Infinity", "-inf"), ("1e999", "inf")]
)
@pytest.mark.parametrize("field", ["temperature", "max_tokens", "logit_bias"])
async def test_a_number_that_is_not_finite_names_its_field(
    http: httpx2.AsyncClient, field: str, number: str, shown: str
) -> None:
    value = f'{{"5": {number}}}' if field == "logit_bias" else number
    body = f'{{"model": "m", "prompt": "a", "{field}": {value}}}'
    error = check_error(await http.post("/v1/completions", content=body), 400, "invalid_request_error", field)
    assert error["message"].endswith(f"not {shown}.")


@pytest.mark.parametrize("field", ["prompt", "user"])
async def test_a_lone_surrogate_names_its_field(http: httpx2.AsyncClient, field: str) -> None:
    body = json.dumps({"model": "m", "prompt": "a"} | {field: "a\ud800"})
    error = check_error(await http.post("/v1/completions", content=body), 400, "invalid_request_error", field)
    assert error["message"] == f"'{field}' should be valid Unicode; character 1 is a lone surrogate."


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_too_large_is_a_413(http: httpx2.AsyncClient, declared: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b" " * 10_000

    content = b" " * 110_000 if declared else pieces()
    error = check_error(await http.post("/v1/completions", content=content), 413, "request_too_large")
    size = "110000" if declared else "110000 or more"
    assert error["message"] == f"The body should have at most 100000 bytes, not {size}."


async def test_a_stream_that_cannot_start_is_a_plain_error(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/v1/completions", json=ASK | {"stream": True, "top_p": 2})
    error = check_error(answer, 400, "invalid_request_error", "top_p")
    assert "1" in error["message"]
    assert "2" in error["message"]


async def test_unknown_models_routes_and_methods(http: httpx2.AsyncClient) -> None:
    wrong_model = await http.post("/v1/completions", json=ASK | {"model": "gpt-4"})
    check_error(wrong_model, 404, "model_not_found", "model")
    check_error(await http.get("/v1/nothing"), 404, "not_found")
    check_error(await http.get("/v1/completions/"), 404, "not_found")
    for path in ("/v1/completions", "/v1/chat/completions"):
        check_error(await http.get(path), 405, "method_not_allowed")
        assert (await http.head(path)).status_code == 405


async def test_a_chat_has_the_same_borders(http: httpx2.AsyncClient) -> None:
    """A body that is too large, of another type, or no JSON; and a stream that fails before it begins."""
    path = "/v1/chat/completions"
    ask = {"model": ASK["model"], "messages": [{"role": "user", "content": "a"}]}
    large = json.dumps(ask | {"user": "a" * 100_000})
    check_error(await http.post(path, content=large), 413, "request_too_large")
    other = {"Content-Type": "text/plain"}
    refusal = await http.post(path, content=json.dumps(ask), headers=other)
    check_error(refusal, 415, "unsupported_media_type")
    check_error(await http.post(path, content="{"), 400, "invalid_request_error")
    streamed = await http.post(path, json=ask | {"stream": True, "top_p": 2})
    check_error(streamed, 400, "invalid_request_error", "top_p")
    late = await http.post(path, json=ask, headers={"X-Request-Timeout": "0.0001"})
    check_error(late, 504, "deadline_exceeded")


async def test_the_events_of_a_chat(http: httpx2.AsyncClient) -> None:
    ask = {"model": ASK["model"], "messages": [{"role": "user", "content": "a"}], "max_tokens": 2}
    answer = await http.post("/v1/chat/completions", json=ask | {"stream": True, "temperature": 0})
    assert answer.headers["content-type"].startswith("text/event-stream")
    *events, done, end = answer.text.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    first, *pieces, last = [chunk["choices"][0] for chunk in chunks]
    assert first["delta"] == {"role": "assistant", "content": ""}
    assert {tuple(piece["delta"]) for piece in pieces} == {("content",)}
    assert (last["delta"], last["finish_reason"]) == ({}, "length")
    assert not any("usage" in chunk for chunk in chunks)


async def test_ids_and_times_come_in_headers(http: httpx2.AsyncClient) -> None:
    mine = await http.get("/v1/models", headers={"X-Request-Id": "my-id"})
    made = await http.post("/v1/completions", json=ASK)
    assert mine.headers["x-request-id"] == "my-id"
    assert made.headers["x-request-id"].startswith("req-")
    assert int(made.headers["openai-processing-ms"]) >= 0


async def test_the_openapi_page_names_every_field(http: httpx2.AsyncClient) -> None:
    schema = (await http.get("/openapi.json")).json()
    body = schema["paths"]["/v1/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    properties = schema["components"]["schemas"][body["$ref"].rpartition("/")[2]]["properties"]
    assert {"prompt", "temperature", "logprobs", "user", "messages"} <= set(properties)
    references = {part.split('"')[0] for part in json.dumps(schema).split('"#/components/schemas/')[1:]}
    assert references <= set(schema["components"]["schemas"])


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "param"),
    [
        ("/tokenize", {}, 400, "invalid_request_error", "prompt"),
        ("/tokenize", {"prompt": ["a"]}, 400, "invalid_request_error", "prompt"),
        (
            "/tokenize",
            {"prompt": "a", "add_special_tokens": 1},
            400,
            "invalid_request_error",
            "add_special_tokens",
        ),
        ("/tokenize", {"prompt": "a", "model": "gpt-4"}, 404, "model_not_found", "model"),
        ("/tokenize", [], 400, "invalid_request_error", None),
        ("/detokenize", {}, 400, "invalid_request_error", "tokens"),
        ("/detokenize", {"tokens": "a"}, 400, "invalid_request_error", "tokens"),
        ("/detokenize", {"tokens": [True]}, 400, "invalid_request_error", "tokens"),
        ("/detokenize", {"tokens": [1], "model": "gpt-4"}, 404, "model_not_found", "model"),
    ],
)
async def test_a_bad_question_about_tokens_is_refused(
    http: httpx2.AsyncClient, path: str, body: Any, status: int, code: str, param: str | None
) -> None:
    check_error(await http.post(path, json=body), status, code, param)


async def test_tokens_are_told_though_null_and_unknown_fields_come_too(http: httpx2.AsyncClient) -> None:
    fields = {"prompt": "a", "model": None, "add_special_tokens": None, "return_token_strs": False}
    assert (await http.post("/tokenize", json=fields)).json()["count"] == 1


async def test_a_dead_engine_turns_health_red(
    http: httpx2.AsyncClient, service: CompletionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(service.engine), "is_alive", property(lambda _engine: False))
    check_error(await http.get("/health"), 503, "unavailable")
    check_error(await http.get("/ready"), 503, "unavailable")
