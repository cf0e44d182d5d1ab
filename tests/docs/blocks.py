"""The code blocks of the pages."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "csrc/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]

_FENCE = re.compile(
    r"^(?:[ ]*<!--[ ]not[ ]run:[ ](?P<reason>[^\n]+?)[ ]-->\n\s*)?"
    r"^(?P<indent>[ ]*)```(?P<language>\w*)(?P<options>[^\n]*)\n(?P<code>.*?)^(?P=indent)```[ ]*$",
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Block:
    """One block.

    Attributes:
        page: The file, from the root of the repository.
        line: The line of its first line of code.
        language: The first word behind the fence.
        title: The file that it is, for the blocks behind it; empty: none.
        code: What stands in it, without its indentation.
        reason: Why no test runs it; empty: one does.
    """

    page: str
    line: int
    language: str
    title: str
    code: str
    reason: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line} {self.title or self.language}"


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page in order."""
    text = page.read_text(encoding="utf-8")
    return [_block(page, text, match) for match in _FENCE.finditer(text)]


def _block(page: Path, text: str, match: re.Match[str]) -> Block:
    title = _TITLE.search(match["options"])
    return Block(
        page=str(page.relative_to(ROOT)),
        line=text.count("\n", 0, match.start("code")) + 1,
        language=match["language"],
        title=title[1] if title else "",
        code=textwrap.dedent(match["code"]),
        reason=match["reason"] or "",
    )
