"""What tests of model names share."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import HfApi

from engine.errors import ModelLoadError
from engine.models.names import locate

if TYPE_CHECKING:
    from tests.standins.hub import Hub

GGUF = b"GGUF" + (3).to_bytes(4, "little") + bytes(16)
"""The smallest file that begins as a GGUF file does: version 3, no tensors, no metadata."""


def failure(name: str, *, offline: bool = False) -> str:
    """Return what ``locate(name)`` complains of."""
    with pytest.raises(ModelLoadError) as caught:
        locate(name, offline=offline)
    return str(caught.value)


def use(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", partial(HfApi, endpoint=hub.url))
