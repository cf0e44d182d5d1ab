"""Simon Willison's `llm` as the client, by its file of extra models: it prints what the Python door says."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.clients import KEY
from tests.clients.forms import ASKED, Weather
from tests.doors import PythonDoor

if TYPE_CHECKING:
    from pathlib import Path

    from engine.service.service import CompletionService

MODELS = """\
- model_id: nucleus
  model_name: {model}
  api_base: {base_url}
  api_key_name: nucleus
  supports_schema: true
"""
OPTIONS = {"temperature": 0.5, "seed": 7, "max_tokens": 8}


@pytest.fixture
def folder(tmp_path: Path, base_url: str, model: str) -> Path:
    """Where `llm` keeps its settings."""
    (tmp_path / "extra-openai-models.yaml").write_text(MODELS.format(model=model, base_url=base_url))
    (tmp_path / "keys.json").write_text(json.dumps({"nucleus": KEY}))
    return tmp_path


async def said(folder: Path, *arguments: str, **options: Any) -> str:
    """Return what the command prints."""
    flags = [part for name, value in options.items() for part in ("-o", name, str(value))]
    command = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "llm", "-m", "nucleus", "--no-log", *arguments, *flags),
        env=os.environ | {"LLM_USER_PATH": str(folder)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, complaint = await command.communicate()
    assert command.returncode == 0, complaint.decode()
    return printed.decode()


async def test_it_prints_the_answer_streamed_and_whole(folder: Path, service: CompletionService) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "天气非常好"}]
    async with PythonDoor(service) as door:
        expected = (await door.chat(messages=messages, **OPTIONS))["choices"][0]["message"]["content"]
    asked = ("天气非常好", "--system", "Be brief.")
    for way in ((), ("--no-stream",)):  # one after the other: both would write its database
        assert await said(folder, *asked, *way, **OPTIONS) == f"{expected}\n"


async def test_it_prints_an_answer_of_a_schema(folder: Path) -> None:
    schema = json.dumps(Weather.model_json_schema())
    printed = await said(folder, ASKED[0]["content"], "--schema", schema, seed=7, max_tokens=64)
    Weather.model_validate_json(printed)
