"""``nucleus models``, ``pull`` and ``rm``, before a stand-in of the hub."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.kinds.files import ModelSpec
from tests.kinds.hostile import SPM
from tests.models.conftest import hub  # noqa: F401
from tests.standins.hub import Hub, Repository

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands.run import Command

NAME = "acme/m:Q8_0"
FILE = "m.Q8_0.gguf"


@pytest.fixture
def acme(hub: Hub, tmp_path: Path) -> Repository:  # noqa: F811
    body = ModelSpec(SPM).write(tmp_path / "source.gguf").read_bytes()
    (tmp_path / "source.gguf").unlink()
    repository = Repository({FILE: body}, licence="mit")
    hub.repositories["acme/m"] = repository
    return repository


@pytest.mark.usefixtures("acme")
def test_a_model_comes_is_listed_and_goes(command: Command) -> None:
    pulled = command("pull", NAME)
    assert pulled.status == 0, pulled.err
    assert "1 file" in pulled.out
    assert "memory" in pulled.out.lower()
    assert pulled.out.splitlines()[-1] == f"It is here: nucleus serve {NAME}"
    listed = json.loads(command("models", "--json").out)
    (model,) = (model for model in listed["models"] if model["source"] == "hub")
    assert model["name"] == NAME
    assert model["problem"] is None
    assert model["memory"]["fits"] is True
    assert listed["cache"]["models"] == model["bytes"]
    assert NAME in command("models").out
    assert "all of it in the cache" in command("pull", NAME, "--offline").out
    removed = command("rm", NAME)
    assert removed.out.splitlines() == [f"removed {FILE}", f"{model['bytes']} bytes are free again."]
    assert NAME not in command("models").out


def test_models_in_folders_and_what_is_wrong_with_them(
    command: Command, tiny_model: str, tmp_path: Path
) -> None:
    folder = tmp_path / "gguf"
    folder.mkdir()
    (folder / "tiny\x1b[2J.gguf").symlink_to(tiny_model)
    (folder / "half-00001-of-00002.gguf").symlink_to(tiny_model)
    (folder / "text.gguf").write_text("text")
    shown = command("models", str(folder)).out
    assert "tiny" in shown
    assert "\x1b" not in shown
    assert "1 of its 2 files are missing" in " ".join(shown.split())
    assert "not a GGUF file" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("pull", "gemma-3-270m"), ("packaged", "pip install")),
        (("pull", "./model.gguf"), ("path", "user/repo")),
        (("pull", "nothing"), ("nothing",)),
        (("pull", "acme/absent"), ("acme/absent", "HF_TOKEN")),
        (("pull", NAME, "--offline"), (NAME.partition(":")[0],)),
        (("rm", "gemma-3-270m"), ("packaged", "pip uninstall")),
        (("rm", "acme/absent"), ("acme/absent", "nucleus models")),
    ],
)
@pytest.mark.usefixtures("hub")
def test_what_cannot_be_done_is_one_line(
    command: Command, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    run = command(*arguments)
    assert run.status == 1
    (line,) = run.err.strip().splitlines()
    for word in words:
        assert word in line
