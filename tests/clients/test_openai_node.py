"""The official SDK for Node as the client: its answers are those of the Python door."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.answers import comparable, counted, joined, joined_chat
from tests.clients import KEY, npm
from tests.clients.forms import ASKED, Weather
from tests.doors import Answer, PythonDoor

if TYPE_CHECKING:
    from engine.service.service import CompletionService

pytestmark = pytest.mark.skipif(not npm.is_at_hand(), reason="node and npm are not on the PATH")

FRANCE, WEATHER = "The capital of France is", "天气非常好"
CASES: dict[str, Answer] = {
    "create": {"prompt": FRANCE, "temperature": 0, "max_tokens": 8},
    "several choices": {"prompt": FRANCE, "n": 3, "max_tokens": 6},
    "logprobs": {"prompt": WEATHER, "max_tokens": 8, "logprobs": 5},
    "a list of prompts": {"prompt": [FRANCE, WEATHER], "n": 2, "max_tokens": 4},
    "token ids": {"prompt": [504, 3575, 282, 4649, 314], "max_tokens": 4},
    "echo": {"prompt": WEATHER, "max_tokens": 2, "echo": True, "logprobs": 1},
    "the best of three": {"prompt": FRANCE, "max_tokens": 4, "best_of": 3, "stop": ["\n"]},
}
STREAMED = ("create", "several choices", "logprobs", "echo")
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": WEATHER}]
CHATS: dict[str, Answer] = {
    "chat": {"messages": MESSAGES, "temperature": 0, "max_completion_tokens": 6},
    "chat with logprobs": {
        "messages": MESSAGES,
        "max_tokens": 4,
        "n": 2,
        "logprobs": True,
        "top_logprobs": 2,
    },
}
REFUSED: dict[str, tuple[Answer, Answer]] = {
    "a field out of range": (
        {"fields": {"temperature": 3}},
        {"raised": "BadRequestError", "status": 400, "code": "invalid_request_error", "param": "temperature"},
    ),
    "a stream's field out of range": (
        {"fields": {"logprobs": 6, "stream": True}},
        {"raised": "BadRequestError", "status": 400, "code": "invalid_request_error", "param": "logprobs"},
    ),
    "another model": (
        {"fields": {"model": "gpt-4"}},
        {"raised": "NotFoundError", "status": 404, "code": "model_not_found", "param": "model"},
    ),
    "a wrong key": (
        {"fields": {}, "key": "sk-wrong"},
        {"raised": "AuthenticationError", "status": 401, "code": "invalid_api_key", "param": None},
    ),
}


@pytest.fixture(scope="module")
async def answers(base_url: str, model: str) -> dict[str, Any]:
    """What the SDK makes of the answers to all requests, from one process."""
    requests: dict[str, Answer] = {"models": {}}
    for case, fields in CASES.items():
        requests[case] = {"fields": {"model": model, "seed": 7, **fields}}
    for case in STREAMED:
        streamed = {"stream": True, "stream_options": {"include_usage": True}}
        requests[f"{case}, streamed"] = {"fields": requests[case]["fields"] | streamed}
    for case, fields in CHATS.items():
        requests[case] = {"fields": {"model": model, "seed": 7, **fields}}
        requests[f"{case}, streamed"] = {"fields": requests[case]["fields"] | {"stream": True}}
    schema = {"name": "weather", "schema": Weather.model_json_schema(), "strict": True}
    form = {"type": "json_schema", "json_schema": schema}
    chat = {"model": model, "messages": ASKED, "seed": 7, "max_tokens": 64, "response_format": form}
    requests["parsed"] = {"fields": chat, "parsed": True}
    for case, (request, _) in REFUSED.items():
        requests[case] = request | {"fields": {"model": model, "prompt": "a", **request["fields"]}}
    client = npm.install() / "ask.mjs"
    node = await asyncio.create_subprocess_exec(
        *("node", client, base_url, KEY),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, complaint = await node.communicate(json.dumps(requests).encode())
    assert node.returncode == 0, complaint.decode()
    read: dict[str, Any] = json.loads(output)
    return read


@pytest.fixture(scope="module")
async def expected(service: CompletionService) -> dict[str, Answer]:
    async with PythonDoor(service) as door:
        return {case: comparable(await door.complete(seed=7, **fields)) for case, fields in CASES.items()}


@pytest.mark.parametrize("case", CASES)
def test_an_answer_is_that_of_the_python_door(
    answers: dict[str, Any], expected: dict[str, Answer], case: str
) -> None:
    assert comparable(answers[case]) == expected[case]
    assert answers[case]["request_id"].startswith("req-")


@pytest.mark.parametrize("case", STREAMED)
def test_a_stream_joined_is_that_answer(
    answers: dict[str, Any], expected: dict[str, Answer], case: str
) -> None:
    *chunks, last = answers[f"{case}, streamed"]
    assert joined(chunks) == expected[case]["choices"]
    assert last["choices"] == []
    assert counted(last["usage"]) == expected[case]["usage"]
    assert all(chunk["usage"] is None for chunk in chunks)


@pytest.mark.parametrize("case", CHATS)
async def test_a_chat_is_that_of_the_python_door_whole_and_streamed(
    answers: dict[str, Any], service: CompletionService, case: str
) -> None:
    async with PythonDoor(service) as door:
        expected = comparable(await door.chat(seed=7, **CHATS[case]))
    assert comparable(answers[case]) == expected
    assert joined_chat(answers[f"{case}, streamed"]) == expected["choices"]


def test_an_answer_is_parsed(answers: dict[str, Any]) -> None:
    Weather.model_validate(answers["parsed"]["choices"][0]["message"]["parsed"])


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_raises_what_the_sdk_has_for_it(answers: dict[str, Any], case: str) -> None:
    refusal = answers[case]
    assert refusal.pop("request_id").startswith("req-")
    assert refusal.pop("type") == "invalid_request_error"
    assert refusal == REFUSED[case][1]


def test_models_are_listed(answers: dict[str, Any], model: str) -> None:
    assert [card["id"] for card in answers["models"]] == [model]
