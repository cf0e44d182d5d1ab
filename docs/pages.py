"""Copies the pages of the site, and the files that they link to, to a folder of their own.

Each lies there where it lies in the repository, so links lead to the same files on the site. The generator
publishes all that the folder holds.

    python docs/pages.py build/pages
"""

from __future__ import annotations

import re
import shutil
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
_FENCE = re.compile(r"^( *)(`{3,}).*?^\1\2 *$", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`[^`\n]+`")
_LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)")


class MissingFileError(Exception):
    """A page, or what a page links to, is not there."""


def _project() -> dict[str, Any]:
    settings: dict[str, Any] = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]
    return settings


def pages() -> list[Path]:
    """Return the pages in the order of the navigation."""
    return [ROOT / page for page in _leaves(_project()["nav"])]


def _leaves(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
        return
    for entry in nav.values() if isinstance(nav, dict) else nav:
        yield from _leaves(entry)


def links(page: Path) -> list[str]:
    """Return what a page links to, without the parts behind #; code holds no links."""
    text = _CODE.sub("", _FENCE.sub("", page.read_text(encoding="utf-8")))
    return _LINK.findall(text)


def linked_files(page: Path) -> list[Path]:
    """Return the files of the repository that a page links to.

    Raises:
        MissingFileError: naming the page and the link that leads nowhere.
    """
    found = []
    for link in links(page):
        if "://" not in link:
            file = (page.parent / link).resolve()
            if not file.is_file() or not file.is_relative_to(ROOT):
                raise MissingFileError(f"{page.relative_to(ROOT)}: there is no file {link!r}")
            found.append(file)
    return found


def files() -> dict[Path, None]:
    """Return the pages, the files that they link to, and the style sheets.

    Raises:
        MissingFileError: naming the page or the link.
    """
    found = dict.fromkeys((*pages(), *(ROOT / sheet for sheet in _project()["extra_css"])))
    for page in pages():
        if not page.is_file():
            raise MissingFileError(f"zensical.toml: there is no page {str(page.relative_to(ROOT))!r}")
        found |= dict.fromkeys(linked_files(page))
    return found


def main() -> None:
    """Lay out the pages in the folder that the command line names, which is emptied first."""
    target = Path(sys.argv[1])
    try:
        found = files()
    except MissingFileError as error:
        sys.exit(str(error))
    shutil.rmtree(target, ignore_errors=True)
    for file in found:
        copy = target / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)


if __name__ == "__main__":
    main()
