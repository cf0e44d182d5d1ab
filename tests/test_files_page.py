"""`docs/files.md` has every module."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "files.md").read_text()


def test_every_module_has_its_place() -> None:
    engine = ROOT / "engine"
    modules = {str(path.relative_to(engine)) for path in engine.rglob("*.py") if path.name != "__init__.py"}
    modules = {module for module in modules if not module.startswith("pb/")}
    named, package = set(), ""
    for line in PAGE.splitlines():
        if line.startswith("| "):
            cells = line.split("|")
            package = cells[1].strip(" `") or package
            names = re.findall(r"`([\w/]+\.py)`", line)
            named |= {name if "/" in name or package == "engine/" else package + name for name in names}
    assert named == modules
