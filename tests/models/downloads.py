"""What tests of downloads share: one file of a hub, and ways to fetch it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import pytest

from engine.models.download import download
from engine.models.download_plan import plan_download
from tests.models.names import GGUF

if TYPE_CHECKING:
    from pathlib import Path

    from tests.standins.hub import Hub

BODY = GGUF + bytes(range(256)) * 20
NAME = "m.Q8_0.gguf"


def fetch(repo: str = "acme/m", **options: Any) -> Path:
    return download(plan_download(repo, None), **options)


def names_in(folder: Path) -> set[str]:
    """Return the names of all files in a folder, but for locks."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())
    return {path.as_posix() for path in files if ".locks" not in path.parts}


def names_in_cache(tmp_path: Path) -> set[str]:
    return {name.removeprefix("models--acme--m/") for name in names_in(tmp_path / "hub")}


class Interrupted(BaseException):
    """What a person does to a download."""


class Bar:
    """A progress bar as small as one may be."""

    def __init__(self, **options: Any) -> None:
        self.done, self.total = options["initial"], options["total"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def update(self, n: int) -> None:
        self.done += n


def interrupt_after(hub: Hub, n_bytes: int) -> None:
    """Fetch so many bytes, then stop as Ctrl-C does."""

    class Interrupting(Bar):
        def update(self, n: int) -> None:
            super().update(n)
            if self.done == n_bytes:
                raise Interrupted

    hub.stall_after = n_bytes
    with pytest.raises(Interrupted):
        fetch(tqdm_class=Interrupting)
