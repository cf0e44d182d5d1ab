"""The stub of the extension has its docstrings, which editors and the site show."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine import _sampler

if TYPE_CHECKING:
    from collections.abc import Iterator

STUB = Path(_sampler.__file__).parent / "_sampler.pyi"
Documented = ast.ClassDef | ast.FunctionDef


def definitions(node: ast.Module | ast.ClassDef, owner: object) -> Iterator[tuple[Documented, object]]:
    """Yield what a stub defines in public, and the object itself."""
    for item in node.body:
        if isinstance(item, Documented) and not item.name.startswith("_"):
            defined = vars(owner)[item.name]
            yield item, defined
            if isinstance(item, ast.ClassDef):
                yield from definitions(item, defined)


@pytest.mark.parametrize(
    ("item", "defined"),
    list(definitions(ast.parse(STUB.read_text(encoding="utf-8")), _sampler)),
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_docstring_of_the_stub_is_that_of_the_extension(item: Documented, defined: object) -> None:
    assert ast.get_docstring(item) == inspect.getdoc(defined)
