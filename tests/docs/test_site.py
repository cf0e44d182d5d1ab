"""The pages of the site, as `docs/pages.py` lays them out for the generator."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.docs.blocks import PAGES, ROOT

if TYPE_CHECKING:
    from pathlib import Path


def lay_out(root: Path, target: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "docs" / "pages.py"), str(target)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the pages and of what they link to, which a test may change."""
    for name in ("docs", "csrc", "benchmarks/results", "proto", "tests/sampler", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.pyc", "corpus"))
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "zensical.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_every_page_is_in_the_navigation_and_every_link_leads_to_a_file(tmp_path: Path) -> None:
    ended = lay_out(ROOT, tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert {page for page in PAGES if not (tmp_path / page.relative_to(ROOT)).exists()} == set()
    others = ("proto/nucleus/v1/completions.proto", "benchmarks/results/serving.svg", "docs/site.css")
    assert all((tmp_path / other).exists() for other in others)


@pytest.mark.parametrize("link", ["gone.md", "../proto/gone.proto#x", "notes"])
def test_a_link_that_leads_nowhere_is_named(clone: Path, link: str) -> None:
    page = clone / "docs" / "http.md"
    page.write_text(f"{page.read_text()}\n[a link]({link}), and code that is none: `[x](y)`\n")
    ended = lay_out(clone, clone / "site")
    assert ended.returncode == 1
    assert ended.stderr == f"docs/http.md: there is no file {link.partition('#')[0]!r}\n"


def test_a_page_that_is_not_there_is_named(clone: Path) -> None:
    (clone / "docs" / "http.md").rename(clone / "docs" / "other.md")
    ended = lay_out(clone, clone / "site")
    assert ended.returncode == 1
    assert "docs/http.md" in ended.stderr
