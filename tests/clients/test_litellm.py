"""litellm as the client, in an environment of its own: its answers are those of the Python door."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.answers import counted
from tests.clients import KEY
from tests.doors import Answer, PythonDoor

if TYPE_CHECKING:
    from engine.service.service import CompletionService

SCRIPT = Path(__file__).parent / "litellm" / "ask.py"
PYTHON = Path(__file__).parents[2] / "build" / "clients" / "litellm" / "bin" / "python"

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(), reason="litellm is not installed; make test installs it into build/"
)

ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "HF_HUB_OFFLINE": "1",
    "PYTHONDONTWRITEBYTECODE": "",  # its import takes seconds more where nothing compiled is kept
}
FRANCE, WEATHER = "The capital of France is", "天气非常好"
CASES: dict[str, Answer] = {
    "a list of prompts": {"prompt": [FRANCE, WEATHER], "n": 2, "max_tokens": 4},
    "token ids": {"prompt": [504, 3575, 282, 4649, 314], "max_tokens": 2},
    "logprobs": {"prompt": WEATHER, "max_tokens": 4, "logprobs": 5},
    "echo": {"prompt": WEATHER, "max_tokens": 2, "echo": True, "logprobs": 1},
    "a stop string": {"prompt": FRANCE, "temperature": 0, "max_tokens": 16, "stop": [" has", "天"]},
}
AWAITED = ("a list of prompts", "logprobs")
STREAMED = ("echo", "a stop string")
REFUSED: dict[str, tuple[Answer, Answer, str]] = {
    "a field out of range": (
        {"temperature": 3},
        {"raised": "BadRequestError", "status": 400},
        "'param': 'temperature'",
    ),
    "a stream's field out of range": (
        {"logprobs": 6, "stream": True},
        {"raised": "BadRequestError", "status": 400},
        "'param': 'logprobs'",
    ),
    "another model": (
        {"model": "text-completion-openai/gpt-4"},
        {"raised": "NotFoundError", "status": 404},
        "'param': 'model'",
    ),
    "a wrong key": (
        {"api_key": "sk-wrong"},
        {"raised": "AuthenticationError", "status": 401},
        "Incorrect API key provided",
    ),
}


def requests_of(model: str) -> dict[str, Answer]:
    requests: dict[str, Answer] = {}
    common = {"model": f"text-completion-openai/{model}", "seed": 7}
    for case, fields in CASES.items():
        requests[case] = {"fields": common | fields}
    for case in STREAMED:
        requests[f"{case}, streamed"] = {"fields": common | CASES[case] | {"stream": True}}
    for case in [*AWAITED, *(f"{case}, streamed" for case in STREAMED)]:
        requests[f"{case}, awaited"] = requests[case] | {"awaited": True}
    for case, (fields, _, _) in REFUSED.items():
        requests[case] = {"fields": common | {"prompt": "a"} | fields}
    return requests


@pytest.fixture(scope="module")
async def said(base_url: str, model: str) -> Answer:
    """What litellm makes of the answers to all requests, from one process."""
    litellm = await asyncio.create_subprocess_exec(
        *(PYTHON, SCRIPT, base_url, KEY),
        env=os.environ | ENVIRONMENT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, complaint = await litellm.communicate(json.dumps(requests_of(model)).encode())
    assert litellm.returncode == 0, complaint.decode()
    read: Answer = json.loads(output)
    return read


@pytest.fixture(scope="module")
async def expected(service: CompletionService) -> dict[str, Answer]:
    async with PythonDoor(service) as door:
        return {case: await door.complete(seed=7, **fields) for case, fields in CASES.items()}


@pytest.mark.parametrize("case", [*CASES, *(f"{case}, awaited" for case in AWAITED)])
def test_an_answer_is_that_of_the_python_door(said: Answer, expected: dict[str, Answer], case: str) -> None:
    answer, wanted = said["answers"][case], expected[case.removesuffix(", awaited")]
    assert answer["choices"] == wanted["choices"]
    assert counted(wanted["usage"]).items() <= answer["usage"].items()


@pytest.mark.parametrize("way", ["streamed", "streamed, awaited"])
@pytest.mark.parametrize("case", STREAMED)
def test_a_stream_joined_is_that_answer(
    said: Answer, expected: dict[str, Answer], case: str, way: str
) -> None:
    """As far as litellm lets it through: it drops logprobs, and tells a reason in a chunk of its own."""
    (wanted,) = expected[case]["choices"]
    pieces = [choice for chunk in said["answers"][f"{case}, {way}"] for choice in chunk["choices"]]
    assert len(pieces) > 2
    assert "".join(piece["text"] or "" for piece in pieces) == wanted["text"]
    reasons = [piece["finish_reason"] for piece in pieces]
    assert reasons == [None] * (len(pieces) - 1) + [wanted["finish_reason"]]


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_raises_what_litellm_has_for_it(said: Answer, case: str) -> None:
    _, raised, message = REFUSED[case]
    refusal = said["answers"][case]
    assert message in refusal.pop("message")
    assert refusal == raised


def test_nobody_else_is_asked(said: Answer) -> None:
    """Else the tests would depend on the network, and tell it about themselves."""
    assert said["elsewhere"] == []
