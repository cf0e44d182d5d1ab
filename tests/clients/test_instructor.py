"""instructor as the client, in an environment of its own: each answer is the model that it asks for."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.clients import KEY
from tests.clients.forms import ASKED, Weather

SCRIPT = Path(__file__).parent / "instructor" / "ask.py"
PYTHON = Path(__file__).parents[2] / "build" / "clients" / "instructor" / "bin" / "python"

pytestmark = [
    pytest.mark.skipif(
        not PYTHON.exists(), reason="instructor is not installed; make test installs it into build/"
    ),
]


async def test_an_answer_is_the_model_whole_and_streamed(base_url: str, model: str) -> None:
    instructor = await asyncio.create_subprocess_exec(
        *(PYTHON, SCRIPT, base_url, KEY, model, json.dumps(ASKED)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, complaint = await instructor.communicate()
    assert instructor.returncode == 0, complaint.decode()
    said = json.loads(output)
    assert said["parts"] > 2
    assert Weather.model_validate(said["last"]) == Weather.model_validate(said["whole"])
