"""What the pages show is run as it stands there."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.docs.blocks import PAGES, Block, blocks_of
from tests.docs.runner import SHOWN, Runner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
RUN = [block for block in BLOCKS if not block.reason and (block.language not in SHOWN or block.title)]

NOT_RUN = {
    "CONTRIBUTING.md": 2,
    "README.md": 1,
    "csrc/README.md": 1,
    "docs/architecture.md": 1,
    "docs/cli.md": 12,
    "docs/contract.md": 1,
    "docs/deploying.md": 7,
    "docs/grpc.md": 1,
    "docs/install.md": 1,
    "docs/models.md": 2,
    "docs/performance.md": 1,
    "docs/quickstart.md": 2,
    "docs/scale.md": 7,
    "docs/tuning.md": 1,
}
"""How many blocks of each page no test runs; each has its reason in a comment above it."""


@pytest.mark.parametrize("block", RUN, ids=str)
async def test_a_block_runs(block: Block, runner_of: Callable[[str], Runner]) -> None:
    await runner_of(block.page).run(block)


def test_what_is_not_run_is_known() -> None:
    assert Counter(block.page for block in BLOCKS if block.reason) == NOT_RUN


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_block_says_what_it_is(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    fences = re.findall(r"^ *```.*$", text, re.MULTILINE)
    assert len(fences) == 2 * len(blocks_of(page))
    assert all(block.language for block in blocks_of(page))
