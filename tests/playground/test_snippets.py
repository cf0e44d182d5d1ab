""" "Copy as …": what is copied asks for what was asked for."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.playground.playground import Playground

PROMPT = 'It\'s "quoted" — the capital of France is'


async def copied(playground: Playground, language: str) -> str:
    await playground.page.get_by_role("button", name=language).click()
    return await playground.page.input_value("#snippet")


async def output_of(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, complaint = await process.communicate()
    assert process.returncode == 0, complaint.decode()
    return out.decode()


@pytest.fixture
async def asked(playground: Playground) -> Playground:
    await playground.complete(PROMPT, temperature="0", max_tokens="6", top_k="40", stop="END")
    return playground


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not on the PATH")
async def test_curl(asked: Playground) -> None:
    events = (await output_of("bash", "-c", await copied(asked, "curl"))).split("\n\n")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events if event.startswith("data: {")]
    assert "".join(choice["text"] for chunk in chunks for choice in chunk["choices"]) == await asked.text()


async def test_python(asked: Playground) -> None:
    code = await copied(asked, "Python")
    assert await output_of(sys.executable, "-c", code) == await asked.text()


@pytest.mark.skipif(not shutil.which("node"), reason="node is not on the PATH")
async def test_javascript(asked: Playground) -> None:
    code = await copied(asked, "JavaScript")
    assert await output_of("node", "--input-type=module", "-e", code) == await asked.text()


async def test_grpc_has_the_messages_own_names(asked: Playground) -> None:
    from google.protobuf import json_format

    from engine.pb.nucleus.v1 import completions_pb2 as pb

    text = await copied(asked, "gRPC")
    assert "StreamCompletion" in text
    message = text.partition("-d '")[2].rpartition("' \\")[0].replace("'\\''", "'")
    request = json_format.Parse(message, pb.StreamCompletionRequest()).request
    assert request.prompt.text == PROMPT
    assert (request.max_tokens, request.top_k, list(request.stop)) == (6, 40, ["END"])
