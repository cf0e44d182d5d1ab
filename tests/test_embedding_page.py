"""What ``docs/embedding.md`` shows is run as it stands there, block by block in one process."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "embedding.md").read_text(), re.DOTALL)


def run_all(names: dict[str, Any]) -> None:
    try:
        for block in BLOCKS:
            exec(compile(block, "embedding.md", "exec"), names)  # noqa: S102 - our own page
    finally:
        names["llm"].close()


async def test_the_examples(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    await asyncio.to_thread(run_all, names)
    said = capsys.readouterr().out
    assert "The capital of France is ->  Paris." in said
    paris, blue = re.findall(r"^ *([\d.]+) \[", said, re.MULTILINE)
    assert float(paris) < float(blue)
    assert len(names["draws"].tokens) == 2
