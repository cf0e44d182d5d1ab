"""A client for Node that gRPC makes from the proto file: its answers are those of the Python door."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from engine.serving.auth import ApiKeys
from engine.serving.grpc import start_grpc
from engine.serving.listen import Endpoint
from tests.clients import KEY, npm
from tests.doors import Answer, PythonDoor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from engine.service.service import CompletionService

pytestmark = pytest.mark.skipif(not npm.is_at_hand(), reason="node and npm are not on the PATH")

PROTO = Path(__file__).parents[2] / "proto" / "nucleus" / "v1" / "completions.proto"
FRANCE, WEATHER = "The capital of France is", "天气非常好"
CASES: dict[str, tuple[Answer, Answer]] = {
    "create": (
        {"prompt": {"text": FRANCE}, "temperature": 0, "max_tokens": 8},
        {"prompt": FRANCE, "temperature": 0, "max_tokens": 8},
    ),
    "several choices": (
        {"prompt": {"texts": {"values": [FRANCE, WEATHER]}}, "n": 2, "max_tokens": 4, "logprobs": 2},
        {"prompt": [FRANCE, WEATHER], "n": 2, "max_tokens": 4, "logprobs": 2},
    ),
    "token ids and bias": (
        {"prompt": {"tokens": {"values": [504, 3575]}}, "max_tokens": 4, "logit_bias": {"260": 100}},
        {"prompt": [504, 3575], "max_tokens": 4, "logit_bias": {260: 100}},
    ),
}
"""Fields on the wire, and the same for Python."""
_REASONS = {"FINISH_REASON_STOP": "stop", "FINISH_REASON_LENGTH": "length"}


@pytest.fixture(scope="module")
async def address(service: CompletionService) -> AsyncIterator[str]:
    server = await start_grpc(service, ApiKeys([KEY]), Endpoint())
    yield f"127.0.0.1:{server.port}"
    await server.stop(0)


@pytest.fixture(scope="module")
async def answers(address: str, model: str) -> dict[str, Any]:
    """What the client makes of the answers to all requests, from one process."""
    requests: dict[str, Answer] = {"models": {"method": "ListModels", "message": {}}}
    for case, (fields, _) in CASES.items():
        message = {"request": {"model": model, "seed": 7, **fields}}
        requests[case] = {"method": "CreateCompletion", "message": message}
        requests[f"{case}, streamed"] = {"method": "StreamCompletion", "message": message}
    prompt = {"model": model, "prompt": {"text": FRANCE}}
    refused = {"request": {**prompt, "temperature": 3}}
    requests["out of range"] = {"method": "CreateCompletion", "message": refused}
    requests["out of range, streamed"] = {"method": "StreamCompletion", "message": refused}
    requests["a wrong key"] = {"method": "ListModels", "message": {}, "key": "sk-wrong"}
    long = {"request": {**prompt, "max_tokens": 1000, "ignore_eos": True}}
    requests["a deadline"] = {"method": "CreateCompletion", "message": long, "deadline": 200}
    node = await asyncio.create_subprocess_exec(
        *("node", npm.install() / "ask_grpc.mjs", PROTO, address, KEY),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, complaint = await node.communicate(json.dumps(requests).encode())
    assert node.returncode == 0, complaint.decode()
    read: dict[str, Any] = json.loads(output)
    return read


def choices_of(answer: Answer) -> list[Answer]:
    """Return choices on the wire as those of the Python door."""
    return [
        {
            "index": choice["index"],
            "text": choice["text"],
            "finish_reason": _REASONS[choice["finish_reason"]],
            "token_logprobs": [
                token["logprob"] for token in (choice.get("logprobs") or {}).get("tokens", [])
            ],
        }
        for choice in answer["choices"]
    ]


@pytest.mark.parametrize("case", CASES)
async def test_an_answer_is_that_of_the_python_door(
    answers: dict[str, Any], service: CompletionService, case: str
) -> None:
    async with PythonDoor(service) as door:
        expected = await door.complete(seed=7, **CASES[case][1])
    completion = answers[case]["completion"]
    assert choices_of(completion) == [
        {
            "index": choice["index"],
            "text": choice["text"],
            "finish_reason": choice["finish_reason"],
            "token_logprobs": (choice.get("logprobs") or {}).get("token_logprobs", []),
        }
        for choice in expected["choices"]
    ]
    assert completion["usage"]["completion_tokens"] == expected["usage"]["completion_tokens"]


@pytest.mark.parametrize("case", CASES)
def test_a_stream_joined_is_that_answer(answers: dict[str, Any], case: str) -> None:
    texts: dict[int, str] = {}
    for response in answers[f"{case}, streamed"]:
        for choice in response["chunk"]["choices"]:
            texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
    assert texts == {choice["index"]: choice["text"] for choice in answers[case]["completion"]["choices"]}


@pytest.mark.parametrize("case", ["out of range", "out of range, streamed"])
def test_a_refusal_names_the_field_in_its_details(answers: dict[str, Any], case: str) -> None:
    refusal = answers[case]
    assert refusal["status"] == "INVALID_ARGUMENT"
    (raw,) = refusal["details"]
    info, fields = ErrorInfo(), BadRequest()
    for detail in Status.FromString(base64.b64decode(raw)).details:
        detail.Unpack(info)
        detail.Unpack(fields)
    assert info.reason == "INVALID_REQUEST_ERROR"
    assert [violation.field for violation in fields.field_violations] == ["temperature"]


def test_a_wrong_key_and_a_deadline_have_their_status(answers: dict[str, Any]) -> None:
    assert answers["a wrong key"]["status"] == "UNAUTHENTICATED"
    assert answers["a deadline"]["status"] == "DEADLINE_EXCEEDED"


def test_models_are_listed(answers: dict[str, Any], model: str) -> None:
    assert [card["id"] for card in answers["models"]["models"]] == [model]
