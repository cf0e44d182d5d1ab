"""A hub on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from huggingface_hub import constants

from tests.models.downloads import BODY, NAME
from tests.models.names import use
from tests.standins.hub import Hub, Repository

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as running:
        # The library reads its environment when it is imported: too early for a test. One of the tests
        # sets the real variables, in a process of its own.
        use(running, monkeypatch)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "notes"))
        monkeypatch.setattr("engine.models.transfer.sleep", lambda _seconds: None)
        yield running


@pytest.fixture
def acme(hub: Hub) -> Repository:
    """The one repository of the hub, with one file."""
    repository = Repository({NAME: BODY})
    hub.repositories["acme/m"] = repository
    return repository
