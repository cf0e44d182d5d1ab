"""What the README shows is run as it stands there."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine.serving.auth import ApiKeys
from engine.serving.grpc import start_grpc
from engine.serving.listen import Endpoint

if TYPE_CHECKING:
    from engine.service.service import CompletionService

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


async def run(code: str) -> None:
    """Run code that blocks, beside the event loop that serves it."""
    await asyncio.to_thread(exec, compile(code, "README.md", "exec"), {"__name__": "__main__"})


def test_there_is_an_example_for_python_and_one_for_grpc() -> None:
    assert [("LLM(" in block, "grpc." in block) for block in BLOCKS] == [(True, False), (False, True)]


async def test_the_python_example(capsys: pytest.CaptureFixture[str]) -> None:
    await run(BLOCKS[0])
    assert len(capsys.readouterr().out) > 40


async def test_the_grpc_example(service: CompletionService, capsys: pytest.CaptureFixture[str]) -> None:
    server = await start_grpc(service, ApiKeys(), Endpoint())
    await run(BLOCKS[1].replace("50051", str(server.port)))
    await server.stop(0)
    assert capsys.readouterr().out.startswith(" Paris.")  # greedy, so it always says the same


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_each_file_of_examples_runs(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(run(path.read_text()))
    assert capsys.readouterr().out


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *(ROOT / "docs").glob("*.md")], ids=lambda page: page.name
)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert link.startswith("https://") or (page.parent / link).exists(), link
